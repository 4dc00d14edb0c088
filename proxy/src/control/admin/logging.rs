//! `/logging`: log levels by component.

use std::fmt::Write;

use super::Admin;
use super::page::{Request, Response};
use crate::control::log::{self, Level};

/// Prints the levels, after changing them as the parameters say.
pub(super) fn logging(request: &Request, _: &Admin) -> Response {
    match change(request) {
        Ok(()) => Response::text(active()),
        Err(problem) => Response::error(400, usage(&problem)),
    }
}

/// All or nothing: a request with a mistake changes no level.
fn change(request: &Request) -> Result<(), String> {
    let mut params = request.params.iter();
    let Some((name, value)) = params.next() else { return Ok(()) };
    if params.next().is_some() {
        return Err("invalid number of parameters".to_owned());
    }
    match name {
        "level" | "paths" if value.is_empty() => Ok(()),
        "level" => {
            log::set_all(level(value)?);
            Ok(())
        }
        "group" => Err("group parameter requires fine-grain logging to be enabled".to_owned()),
        "paths" => {
            let mut changes = Vec::new();
            for pair in value.split(',').filter(|pair| !pair.is_empty()) {
                let Some((name, wanted)) = pair.split_once(':') else {
                    return Err("empty logger name or empty logger level".to_owned());
                };
                changes.push((known(name)?, level(wanted)?));
            }
            for (name, level) in changes {
                log::set(name, level);
            }
            Ok(())
        }
        _ => {
            // Level first: that is the mistake Envoy names when there are two.
            let level = level(value)?;
            log::set(known(name)?, level);
            Ok(())
        }
    }
}

fn level(name: &str) -> Result<Level, String> {
    name.parse().map_err(|_| "unknown logger level".to_owned())
}

fn known(name: &str) -> Result<&str, String> {
    if log::is_component(name) { Ok(name) } else { Err("unknown logger name".to_owned()) }
}

fn active() -> String {
    let mut out = String::from("active loggers:\n");
    for (name, level) in log::levels() {
        let _infallible = writeln!(out, "  {name}: {}", level.name());
    }
    out.push('\n');
    out
}

fn usage(problem: &str) -> String {
    let levels: String = Level::ALL.into_iter().map(|level| format!("{} ", level.name())).collect();
    format!(
        "error: {problem}\n\n\
         usage: /logging?<name>=<level> (change single level)\n\
         usage: /logging?paths=name1:level1,name2:level2,... (change multiple levels)\n\
         usage: /logging?level=<level> (change all levels)\n\
         usage: /logging?group=<group_name>:<level> (change group of loggers)\n\
         levels: {levels}\n{}",
        active()
    )
}
