//! JSON to a tree, as lenient as protobuf's parser is under Envoy: single quotes, bare keys and a
//! trailing comma pass; numbers keep their text.

use super::{DEPTH_MAX, Entry, Node, Parsed, SyntaxError, Value};

/// Parses the one value of `text`.
pub(crate) fn parse(text: &str) -> Result<Parsed, SyntaxError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut parser = Parser { rest: text, line: 1, column: 1, depth: 0 };
    let root = parser.value()?;
    parser.blank();
    if !parser.rest.is_empty() {
        return Err(parser.error("text after the end of the JSON value"));
    }
    Ok(Parsed { root, passed_over: Vec::new() })
}

struct Parser<'a> {
    rest: &'a str,
    line: u32,
    column: u32,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn value(&mut self) -> Result<Node, SyntaxError> {
        self.blank();
        let (line, column) = (self.line, self.column);
        let value = match self.peek() {
            Some('{') => self.nested(Self::map)?,
            Some('[') => self.nested(Self::list)?,
            Some('"' | '\'') => Value::String(self.string()?),
            Some('-' | '+' | '.' | '0'..='9') => self.number()?,
            Some(c) if c.is_ascii_alphabetic() => self.word()?,
            Some(_) => return Err(self.error("a value was expected here")),
            None => return Err(self.error("the text ends where a value was expected")),
        };
        Ok(Node { line, column, value })
    }

    fn nested(
        &mut self,
        parse: fn(&mut Self) -> Result<Value, SyntaxError>,
    ) -> Result<Value, SyntaxError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let limit = format!("more than {DEPTH_MAX} maps and lists inside one another");
            return Err(self.error(&limit));
        }
        self.take();
        let value = parse(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn map(&mut self) -> Result<Value, SyntaxError> {
        let mut entries = Vec::new();
        loop {
            self.blank();
            if self.skip('}') {
                return Ok(Value::Map(entries));
            }
            let (line, column) = (self.line, self.column);
            let key = match self.peek() {
                Some('"' | '\'') => self.string()?,
                Some(c) if c.is_ascii_alphabetic() || c == '_' => self.bare().into(),
                _ => return Err(self.error("a key in quotes was expected here")),
            };
            self.blank();
            if !self.skip(':') {
                return Err(self.error("a colon was expected after the key"));
            }
            let node = self.value()?;
            entries.push(Entry { key, line, column, node });
            self.blank();
            if !self.skip(',') && self.peek() != Some('}') {
                return Err(self.error("a comma or } was expected here"));
            }
        }
    }

    fn list(&mut self) -> Result<Value, SyntaxError> {
        let mut items = Vec::new();
        loop {
            self.blank();
            if self.skip(']') {
                return Ok(Value::List(items));
            }
            items.push(self.value()?);
            self.blank();
            if !self.skip(',') && self.peek() != Some(']') {
                return Err(self.error("a comma or ] was expected here"));
            }
        }
    }

    fn word(&mut self) -> Result<Value, SyntaxError> {
        let start = (self.line, self.column);
        match self.bare() {
            "null" => Ok(Value::Null),
            "true" => Ok(Value::Bool(true)),
            "false" => Ok(Value::Bool(false)),
            word => Err(SyntaxError {
                line: start.0,
                column: start.1,
                message: format!("{word} is no JSON value; a string needs quotes"),
            }),
        }
    }

    fn bare(&mut self) -> &'a str {
        let end = self.rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        self.advance(end.unwrap_or(self.rest.len()))
    }

    fn number(&mut self) -> Result<Value, SyntaxError> {
        let (rest, line, column) = (self.rest, self.line, self.column);
        let end = rest.find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'));
        let text = self.advance(end.unwrap_or(rest.len()));
        if is_number(text) {
            return Ok(Value::Number(text.into()));
        }
        Err(SyntaxError { line, column, message: format!("{text} is no JSON number") })
    }

    fn string(&mut self) -> Result<Box<str>, SyntaxError> {
        let quote = self.peek().unwrap_or('"');
        self.take();
        let mut out = String::new();
        loop {
            let plain = self.rest.find([quote, '\\']).unwrap_or(self.rest.len());
            let text = self.advance(plain);
            out.push_str(text);
            match self.take() {
                Some('\\') => out.push(self.escape()?),
                Some(_) => return Ok(out.into()),
                None => return Err(self.error("the text ends inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, SyntaxError> {
        match self.take() {
            Some('u') => self.unicode(),
            Some('n') => Ok('\n'),
            Some('t') => Ok('\t'),
            Some('r') => Ok('\r'),
            Some('b') => Ok('\u{8}'),
            Some('f') => Ok('\u{c}'),
            Some(c @ ('"' | '\\' | '/' | '\'')) => Ok(c),
            _ => Err(self.error("an unknown escape in a string")),
        }
    }

    /// Four hexadecimal digits, twice for a character beyond the basic plane.
    fn unicode(&mut self) -> Result<char, SyntaxError> {
        let high = self.four_digits()?;
        let code = match high {
            0xd800..=0xdbff => {
                if !(self.skip('\\') && self.skip('u')) {
                    return Err(self.error("half of a surrogate pair is missing"));
                }
                let low = self.four_digits()?;
                let Some(low) = low.checked_sub(0xdc00).filter(|low| *low < 0x400) else {
                    return Err(self.error("half of a surrogate pair is missing"));
                };
                0x10000 + ((high - 0xd800) << 10) + low
            }
            _ => high,
        };
        char::from_u32(code).ok_or_else(|| self.error("this escape is no character"))
    }

    fn four_digits(&mut self) -> Result<u32, SyntaxError> {
        let digits = self.rest.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(code) = digits.and_then(|digits| u32::from_str_radix(digits, 16).ok()) else {
            return Err(self.error("four hexadecimal digits were expected after \\u"));
        };
        self.advance(4);
        Ok(code)
    }

    fn blank(&mut self) {
        let end = self.rest.find(|c: char| !matches!(c, ' ' | '\t' | '\n' | '\r'));
        self.advance(end.unwrap_or(self.rest.len()));
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.advance(next.len_utf8());
        Some(next)
    }

    fn skip(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        if found {
            self.take();
        }
        found
    }

    /// Moves on by `bytes`, which end at a character, and counts lines and columns.
    fn advance(&mut self, bytes: usize) -> &'a str {
        let (passed, rest) = self.rest.split_at(bytes);
        for c in passed.chars() {
            if c == '\n' {
                self.line = self.line.saturating_add(1);
                self.column = 1;
            } else {
                self.column = self.column.saturating_add(1);
            }
        }
        self.rest = rest;
        passed
    }

    fn error(&self, message: &str) -> SyntaxError {
        SyntaxError {
            line: self.line,
            column: self.column,
            message: format!("this is not JSON: {message}"),
        }
    }
}

/// JSON's grammar of numbers.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let starts_well = match digits.as_bytes() {
        [b'0', b'0'..=b'9', ..] => false,
        [b'0'..=b'9', ..] => true,
        _ => false,
    };
    starts_well && !digits.contains(".e") && !digits.ends_with('.') && text.parse::<f64>().is_ok()
}
