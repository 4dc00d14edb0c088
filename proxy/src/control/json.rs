//! JSON as Envoy's admin pages print it: one space of indentation, keys in the order written.

use std::fmt::{Display, Write};

/// Writes one JSON document; may be taken away piece by piece while it grows.
#[derive(Debug, Default)]
pub struct Json {
    out: String,
    /// For every open bracket: has something been written in it?
    open: Vec<bool>,
    /// A key has been written and waits for its value.
    after_key: bool,
}

impl Json {
    /// An empty document.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens an object.
    pub fn object(&mut self) -> &mut Self {
        self.begin('{')
    }

    /// Opens an array.
    pub fn array(&mut self) -> &mut Self {
        self.begin('[')
    }

    /// Closes the innermost object.
    pub fn end_object(&mut self) -> &mut Self {
        self.end('}')
    }

    /// Closes the innermost array.
    pub fn end_array(&mut self) -> &mut Self {
        self.end(']')
    }

    /// Writes the key of the next value.
    pub fn key(&mut self, name: &str) -> &mut Self {
        self.separate();
        self.out.push('"');
        escape_into(name, &mut self.out);
        self.out.push_str("\": ");
        self.after_key = true;
        self
    }

    /// Writes a string.
    pub fn string(&mut self, value: &str) -> &mut Self {
        self.separate();
        self.out.push('"');
        escape_into(value, &mut self.out);
        self.out.push('"');
        self
    }

    /// Writes a number, `true`, `false` or `null`: anything that prints as JSON.
    pub fn value(&mut self, value: impl Display) -> &mut Self {
        self.separate();
        // Writing to a String cannot fail.
        let _infallible = write!(self.out, "{value}");
        self
    }

    /// Writes a 64-bit integer as protobuf's JSON does: in quotes.
    pub fn int64(&mut self, value: impl Display) -> &mut Self {
        self.separate();
        let _infallible = write!(self.out, "\"{value}\"");
        self
    }

    /// Writes a value that is JSON already and printed by the same rules at depth 0.
    pub fn embed(&mut self, json: &str) -> &mut Self {
        self.separate();
        for (number, line) in json.trim_end().lines().enumerate() {
            if number > 0 {
                self.line_feed();
            }
            self.out.push_str(line);
        }
        self
    }

    /// What has been written since the last call.
    pub fn take(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    /// Bytes waiting to be taken.
    pub fn pending(&self) -> usize {
        self.out.len()
    }

    /// Brackets open now.
    pub fn depth(&self) -> usize {
        self.open.len()
    }

    /// Ends the document with a line feed and returns what has not been taken.
    pub fn finish(mut self) -> String {
        debug_assert!(self.open.is_empty(), "unbalanced brackets");
        self.out.push('\n');
        self.out
    }

    fn begin(&mut self, bracket: char) -> &mut Self {
        self.separate();
        self.out.push(bracket);
        self.open.push(false);
        self
    }

    fn end(&mut self, bracket: char) -> &mut Self {
        if self.open.pop() == Some(true) {
            self.line_feed();
        }
        self.out.push(bracket);
        self
    }

    /// Comma, line feed and indentation before an element; nothing between a key and its value.
    fn separate(&mut self) {
        if std::mem::take(&mut self.after_key) {
            return;
        }
        if let Some(used) = self.open.last_mut() {
            if std::mem::replace(used, true) {
                self.out.push(',');
            }
            self.line_feed();
        }
    }

    fn line_feed(&mut self) {
        self.out.push('\n');
        self.out.extend(std::iter::repeat_n(' ', self.open.len()));
    }
}

/// Appends the text as the inside of a JSON string, escaped as protobuf does.
pub fn escape_into(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            // Also what could end a <script> element a page is embedded in.
            '<' | '>' | '\u{7f}' | '\0'..='\u{1f}' => {
                let _infallible = write!(out, "\\u{:04x}", c as u32);
            }
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_with_one_space() {
        let mut json = Json::new();
        json.object().key("a").array().end_array().key("b").array();
        json.object().key("c").string("x\"<\n").end_object().value(1.5);
        json.end_array().key("d").object().end_object().key("n").int64(7).end_object();
        assert_eq!(
            json.finish(),
            "{\n \"a\": [],\n \"b\": [\n  {\n   \"c\": \"x\\\"\\u003c\\n\"\n  },\n  1.5\n ],\n \
             \"d\": {},\n \"n\": \"7\"\n}\n"
        );
    }

    #[test]
    fn embeds_at_its_depth_and_can_be_taken_in_pieces() {
        let mut json = Json::new();
        json.object().key("a");
        let mut all = json.take();
        json.embed("{\n \"x\": 1\n}\n").end_object();
        all += &json.finish();
        assert_eq!(all, "{\n \"a\": {\n  \"x\": 1\n }\n}\n");
    }
}
