//! What is wrong with a configuration, where, and what to write instead.

use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is taken; something in it will not stay so.
    Warning,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file as it was named to us; empty where the text came from elsewhere.
    #[serde(serialize_with = "shared_text")]
    pub file: Arc<str>,
    /// Line from 1; 0 where there is no text.
    pub line: u32,
    /// Column in characters from 1; 0 where there is no text.
    pub column: u32,
    /// The field, from the top: `static_resources.clusters[0].connect_timeout`.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What may stand there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
    /// What was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The line of the file, cut to a readable width around the column.
    #[serde(skip)]
    pub snippet: Option<Snippet>,
}

/// The line a diagnostic points into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snippet {
    /// Text of the line, or the part of it around the column.
    pub text: String,
    /// Characters before the place pointed at.
    pub offset: usize,
}

/// Characters of a line shown at most.
const SNIPPET_CHARS: usize = 100;

impl Diagnostic {
    /// An error at no position yet.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            file: Arc::from(""),
            line: 0,
            column: 0,
            path: path.into(),
            message: message.into(),
            allowed: None,
            suggestion: None,
            snippet: None,
        }
    }

    /// A warning at no position yet.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, message) }
    }

    /// Says what may stand there.
    #[must_use]
    pub fn allowed(mut self, allowed: impl Into<String>) -> Self {
        self.allowed = Some(allowed.into());
        self
    }

    /// Says what was probably meant.
    #[must_use]
    pub fn suggestion(mut self, suggestion: Option<String>) -> Self {
        self.suggestion = suggestion;
        self
    }

    /// Puts it into a file, with the line it points at.
    #[must_use]
    pub fn at(mut self, file: &Arc<str>, text: &str, line: u32, column: u32) -> Self {
        self.file = Arc::clone(file);
        self.line = line;
        self.column = column;
        self.snippet = snippet(text, line, column);
        self
    }

    /// Whether it is an error.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

fn shared_text<S: Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}

/// The line of `text`, cut around the column.
fn snippet(text: &str, line: u32, column: u32) -> Option<Snippet> {
    let index = usize::try_from(line.checked_sub(1)?).ok()?;
    let before = usize::try_from(column.saturating_sub(1)).ok()?;
    let whole = text.lines().nth(index)?;
    let skipped = if whole.len() <= SNIPPET_CHARS { 0 } else { before.saturating_sub(40) };
    let text = whole.chars().skip(skipped).take(SNIPPET_CHARS).map(printable).collect();
    Some(Snippet { text, offset: before - skipped })
}

/// A tab or a control character would move the caret, or worse.
fn printable(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
        }
        if self.line != 0 {
            write!(f, "{}:{}: ", self.line, self.column)?;
        }
        f.write_str(match self.severity {
            Severity::Error => "error: ",
            Severity::Warning => "warning: ",
        })?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(snippet) = &self.snippet {
            let gutter = self.line.to_string().len();
            write!(f, "\n {} | {}", self.line, snippet.text)?;
            write!(f, "\n {:gutter$} | {:offset$}^", "", "", offset = snippet.offset)?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, "\n   allowed: {allowed}")?;
        }
        if let Some(suggestion) = &self.suggestion {
            write!(f, "\n   did you mean `{suggestion}`?")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}
