//! "Is this field set to something other than its default?", asked of what is not acted on.

use std::collections::BTreeMap;

/// A field's value that can tell whether anybody set it.
pub(crate) trait IsSet {
    /// Differs from what an absent field means. A wrapper that is there is set, whatever it holds:
    /// `unwrap_or_default` first where an absent one means `false`.
    fn is_set(&self) -> bool;
}

impl IsSet for bool {
    fn is_set(&self) -> bool {
        *self
    }
}

macro_rules! number {
    ($($kind:ty)*) => {
        $(impl IsSet for $kind {
            fn is_set(&self) -> bool {
                *self != <$kind>::default()
            }
        })*
    };
}

number!(i32 i64 u32 u64 f64);

impl IsSet for String {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> IsSet for Vec<T> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl<K, V> IsSet for BTreeMap<K, V> {
    fn is_set(&self) -> bool {
        !self.is_empty()
    }
}

impl<T: IsSet> IsSet for &T {
    fn is_set(&self) -> bool {
        (*self).is_set()
    }
}

/// Wrappers, messages and oneofs.
impl<T> IsSet for Option<T> {
    fn is_set(&self) -> bool {
        self.is_some()
    }
}

/// Refuses each of the named fields (bound to variables of the same name) that is set.
macro_rules! refuse {
    ($cx:expr, $at:expr, $($field:ident),* $(,)?) => {
        $(if $crate::config::compile::set::IsSet::is_set(&$field) {
            $cx.unsupported(&$at.field(stringify!($field)));
        })*
    };
}

pub(crate) use refuse;
