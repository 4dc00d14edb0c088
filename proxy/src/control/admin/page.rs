//! What a page is: a function from a request to a response, and its line in the help text.

use super::Admin;
use super::query::Params;

/// Text of a plain page.
pub const TEXT: &str = "text/plain; charset=UTF-8";
/// A JSON page.
pub const JSON: &str = "application/json";
/// An HTML page.
pub const HTML: &str = "text/html; charset=UTF-8";

/// One admin page.
#[derive(Clone, Copy)]
pub struct Page {
    /// Its path, without a query.
    pub path: &'static str,
    /// What it does, for `/help`.
    pub help: &'static str,
    /// Its parameters, for `/help` and the start page.
    pub params: &'static [Param],
    /// It changes something: only POST is allowed.
    pub mutates: bool,
    /// It shows what xDS brought, which the control thread is asked for.
    pub snapshot: bool,
    /// Answers a request.
    pub answer: fn(&Request, &Admin) -> Response,
}

/// One parameter of a page.
#[derive(Debug, Clone, Copy)]
pub struct Param {
    /// Its name.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// The only values it takes; empty means any.
    pub choices: &'static [&'static str],
    /// Given or not given: it has no value.
    pub flag: bool,
}

impl Param {
    /// A parameter with a free value.
    pub const fn text(name: &'static str, help: &'static str) -> Self {
        Self { name, help, choices: &[], flag: false }
    }

    /// A parameter that is given or not.
    pub const fn flag(name: &'static str, help: &'static str) -> Self {
        Self { name, help, choices: &[], flag: true }
    }

    /// A parameter with a list of values.
    pub const fn one_of(
        name: &'static str,
        help: &'static str,
        choices: &'static [&'static str],
    ) -> Self {
        Self { name, help, choices, flag: false }
    }
}

/// A request to a page.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Method, as sent.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query, and form fields of a POST.
    pub params: Params,
}

/// What a page answers.
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `content-type`.
    pub content_type: &'static str,
    /// The body.
    pub body: Body,
    /// `x-content-type-options` comes first too, as Envoy sends some errors.
    pub early_nosniff: bool,
    /// The connection is closed and the process told to end once this answer is out.
    pub then_quit: bool,
}

/// Body of a [`Response`].
pub enum Body {
    /// All of it.
    Whole(String),
    /// Piece by piece, each made when the client has taken the one before.
    Pieces(Box<dyn Iterator<Item = String>>),
}

impl Response {
    /// 200 with a body.
    pub fn ok(content_type: &'static str, body: String) -> Self {
        Self {
            status: 200,
            content_type,
            body: Body::Whole(body),
            early_nosniff: false,
            then_quit: false,
        }
    }

    /// A plain text page.
    pub fn text(body: impl Into<String>) -> Self {
        Self::ok(TEXT, body.into())
    }

    /// What a successful command answers.
    pub fn done() -> Self {
        Self::text("OK\n")
    }

    /// A failure, in plain text.
    pub fn error(status: u16, body: impl Into<String>) -> Self {
        Self { status, ..Self::text(body) }
    }

    /// 200 with a body made on demand.
    pub fn pieces(
        content_type: &'static str,
        pieces: impl Iterator<Item = String> + 'static,
    ) -> Self {
        Self {
            status: 200,
            content_type,
            body: Body::Pieces(Box::new(pieces)),
            early_nosniff: false,
            then_quit: false,
        }
    }

    /// The whole body, for tests.
    #[cfg(test)]
    pub fn into_text(self) -> String {
        match self.body {
            Body::Whole(text) => text,
            Body::Pieces(pieces) => pieces.collect(),
        }
    }
}
