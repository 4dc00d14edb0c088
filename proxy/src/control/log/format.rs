//! `--log-format`: the flags of spdlog's patterns that make sense here, and Envoy's own two.

use std::fmt::Write;

use super::Level;
use crate::control::clock::{self, Civil};

/// One line to be printed.
pub(super) struct Record<'a> {
    pub(super) name: &'static str,
    pub(super) level: Level,
    pub(super) file: &'static str,
    pub(super) line: u32,
    pub(super) message: &'a str,
}

/// A parsed `--log-format`.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Part>);

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The letter after `%`.
    Flag(char),
}

impl Pattern {
    /// Parses a pattern. Flags that do not exist stay in the text as they are, as in spdlog.
    pub fn parse(pattern: &str) -> Self {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                text.push(c);
                continue;
            }
            match chars.next() {
                Some('%') => text.push('%'),
                Some(flag) if KNOWN.contains(flag) => {
                    if !text.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut text)));
                    }
                    parts.push(Part::Flag(flag));
                }
                Some(other) => text.extend(['%', other]),
                None => text.push('%'),
            }
        }
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        Self(parts)
    }

    /// Appends the line, without its line feed.
    pub(super) fn render(&self, record: &Record<'_>, out: &mut String) {
        let now = clock::unix_now();
        let civil = clock::civil(now);
        for part in &self.0 {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Flag(flag) => {
                    // Writing to a String cannot fail.
                    let _infallible = time_flag(*flag, &civil, now, out)
                        .unwrap_or_else(|| record_flag(*flag, record, out));
                }
            }
        }
    }
}

/// Every flag [`time_flag`] or [`record_flag`] knows.
const KNOWN: &str = "YmdCHMSTeFfEDzlLntPvgs#@j_R";

fn time_flag(
    flag: char,
    civil: &Civil,
    now: std::time::Duration,
    out: &mut String,
) -> Option<std::fmt::Result> {
    let c = civil;
    Some(match flag {
        'Y' => write!(out, "{:04}", c.year),
        'C' => write!(out, "{:02}", c.year % 100),
        'm' => write!(out, "{:02}", c.month),
        'd' => write!(out, "{:02}", c.day),
        'H' => write!(out, "{:02}", c.hour),
        'M' => write!(out, "{:02}", c.minute),
        'S' => write!(out, "{:02}", c.second),
        'T' => write!(out, "{:02}:{:02}:{:02}", c.hour, c.minute, c.second),
        'R' => write!(out, "{:02}:{:02}", c.hour, c.minute),
        'D' => write!(out, "{:02}/{:02}/{:02}", c.month, c.day, c.year % 100),
        'e' => write!(out, "{:03}", now.subsec_millis()),
        'f' => write!(out, "{:06}", now.subsec_micros()),
        'F' => write!(out, "{:09}", now.subsec_nanos()),
        'E' => write!(out, "{}", now.as_secs()),
        // Lines carry UTC: reading the zone's rules would need a file this process may not see.
        'z' => write!(out, "+00:00"),
        _ => return None,
    })
}

fn record_flag(flag: char, record: &Record<'_>, out: &mut String) -> std::fmt::Result {
    match flag {
        'l' => write!(out, "{}", record.level.name()),
        'L' => write!(out, "{}", record.level.letter()),
        'n' => write!(out, "{}", record.name),
        't' => write!(out, "{}", clock::thread_id()),
        'P' => write!(out, "{}", std::process::id()),
        'v' => write!(out, "{}", record.message),
        'g' => write!(out, "{}", record.file),
        's' => write!(out, "{}", record.file.rsplit('/').next().unwrap_or(record.file)),
        '#' => write!(out, "{}", record.line),
        '@' => write!(out, "{}:{}", record.file, record.line),
        // Envoy's: the message as the inside of a JSON string, and with line feeds escaped.
        'j' => {
            super::super::json::escape_into(record.message, out);
            Ok(())
        }
        '_' => write!(out, "{}", record.message.replace('\n', "\\n")),
        _ => Ok(()),
    }
}
