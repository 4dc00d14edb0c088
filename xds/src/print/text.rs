//! Strings and floating point in JSON, as protobuf's printer writes them.

use std::fmt::Write;

use super::Printer;

impl Printer<'_> {
    pub(super) fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if is_escaped(c) => {
                    let mut units = [0; 2];
                    for unit in c.encode_utf16(&mut units) {
                        // Writing to a String does not fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    /// The shortest text that reads back as the same number; `narrow` if it is one of 32 bits.
    pub(super) fn float(&mut self, number: f64, narrow: bool) {
        if number.is_nan() {
            self.string("NaN");
        } else if number.is_infinite() {
            self.string(if number > 0.0 { "Infinity" } else { "-Infinity" });
        } else {
            self.out.push_str(&shortest(number, narrow));
        }
    }
}

/// As C's `%g`: an exponent only where the number is very small or very large.
fn shortest(number: f64, narrow: bool) -> String {
    let (scientific, digits) =
        if narrow { (format!("{:e}", number as f32), 6) } else { (format!("{number:e}"), 15) };
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..digits).contains(&exponent) {
        return if narrow { (number as f32).to_string() } else { number.to_string() };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

/// Control and format characters, and those that could end a script.
fn is_escaped(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}'
        | '<'
        | '>'
        | '\u{7f}'..='\u{9f}'
        | '\u{ad}'
        | '\u{600}'..='\u{604}'
        | '\u{6dd}'
        | '\u{70f}'
        | '\u{17b4}'
        | '\u{17b5}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2064}'
        | '\u{206a}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{110bd}'
        | '\u{1d173}'..='\u{1d17a}'
        | '\u{e0001}'
        | '\u{e0020}'..='\u{e007f}')
}
