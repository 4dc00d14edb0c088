//! What of a stream a filter has to be called for.

use std::ops::BitOr;

/// A set of phases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Phases(u8);

impl Phases {
    /// The request's head.
    pub(crate) const REQUEST_HEADERS: Self = Self(1);
    /// Its body.
    pub(crate) const REQUEST_DATA: Self = Self(1 << 1);
    /// Its trailers.
    pub(crate) const REQUEST_TRAILERS: Self = Self(1 << 2);
    /// The response's head.
    pub(crate) const RESPONSE_HEADERS: Self = Self(1 << 3);
    /// Its body.
    pub(crate) const RESPONSE_DATA: Self = Self(1 << 4);
    /// Its trailers.
    pub(crate) const RESPONSE_TRAILERS: Self = Self(1 << 5);
    /// The end of the stream.
    pub(crate) const END: Self = Self(1 << 6);
    /// Everything of the response.
    pub(crate) const RESPONSE: Self =
        Self(Self::RESPONSE_HEADERS.0 | Self::RESPONSE_DATA.0 | Self::RESPONSE_TRAILERS.0);
    /// Everything of the request.
    pub(crate) const REQUEST: Self =
        Self(Self::REQUEST_HEADERS.0 | Self::REQUEST_DATA.0 | Self::REQUEST_TRAILERS.0);

    /// Whether any of `other` is in here.
    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// All but those of `other`.
    pub(crate) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those of both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOr for Phases {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and(other)
    }
}
