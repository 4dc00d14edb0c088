//! The start page and the help text.

use std::fmt::Write;

use super::Admin;
use super::page::{HTML, Page, Param, Request, Response};
use super::table::PAGES;

/// `/help`
pub(super) fn help(_: &Request, _: &Admin) -> Response {
    Response::text(help_text())
}

/// Any path without a page.
pub(super) fn not_found() -> Response {
    Response::error(404, format!("invalid path. {}", help_text()))
}

fn help_text() -> String {
    let mut out = String::from("admin commands are:\n");
    for page in PAGES {
        let post = if page.mutates { " (POST)" } else { "" };
        // Writing to a String cannot fail, here and below.
        let _infallible = writeln!(out, "  {}{post}: {}", page.path, page.help);
        for param in page.params {
            let _infallible = write!(out, "      {}: {}", param.name, param.help);
            if !param.choices.is_empty() {
                let _infallible = write!(out, "; One of ({})", param.choices.join(", "));
            }
            out.push('\n');
        }
    }
    out
}

/// `/`: one row per page; a page that changes something is a button.
pub(super) fn home(_: &Request, admin: &Admin) -> Response {
    let mut out = String::with_capacity(16 << 10);
    out.push_str(HEAD);
    let state = admin.server.state().name();
    let _infallible = writeln!(
        out,
        "<h1>ringway <small class='{}'>{state}</small></h1>\n<p>{} · up {} s</p>",
        state.to_lowercase(),
        escape(&super::info::version()),
        admin.server.uptime().as_secs()
    );
    out.push_str("<table>\n<tr><th>page</th><th>what it does</th></tr>\n");
    for page in PAGES {
        row(page, &mut out);
    }
    out.push_str("</table>\n</body>\n</html>\n");
    Response::ok(HTML, out)
}

/// Beginning of every HTML page, up to and with `<body>`.
pub(super) const HEAD: &str = "<!DOCTYPE html>
<html lang='en'>
<head>
<meta charset='utf-8'>
<meta name='viewport' content='width=device-width'>
<title>Ringway admin</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem;
  color: #1c2430; background: #fff }
h1 { font-size: 1.4rem } small { font-size: .7rem; padding: .15rem .5rem; border-radius: 1rem;
  background: #c8372d; color: #fff; vertical-align: middle } small.live { background: #1a7f4b }
table { border-collapse: collapse; width: 100% } th { text-align: left; color: #667 }
td, th { padding: .4rem .6rem; border-top: 1px solid #e3e7ee; vertical-align: top }
td:first-child { white-space: nowrap; font-family: ui-monospace, monospace }
form { margin: 0 } label { display: block; color: #556; margin-top: .2rem }
input[type=text], select { font: inherit; margin-right: .5rem } a { color: #0a58ca }
button { font: inherit; cursor: pointer; border: 1px solid #b9c2d0; border-radius: .3rem;
  background: #f3f5f9; padding: .1rem .5rem }
@media (prefers-color-scheme: dark) { body { background: #14181f; color: #dde3ec }
  td, th { border-color: #2b323d } a { color: #7fb0ff } label { color: #9aa5b5 }
  button { background: #232a35; color: inherit; border-color: #3a4352 } }
</style>
</head>
<body>
";

fn row(page: &Page, out: &mut String) {
    // Relative, so that the page works behind a prefix.
    let target = page.path.trim_start_matches('/');
    let id = target.replace('/', "-");
    let _infallible = write!(out, "<tr><td>");
    if page.params.is_empty() && !page.mutates {
        let href = if target.is_empty() { "./" } else { target };
        let _infallible = write!(out, "<a href='{href}'>{}</a>", page.path);
        let _infallible = writeln!(out, "</td><td>{}</td></tr>", escape(page.help));
        return;
    }
    let method = if page.mutates { "post" } else { "get" };
    let _infallible = write!(
        out,
        "<form id='{id}' action='{target}' method='{method}'><button>{}</button></form>",
        page.path
    );
    let _infallible = write!(out, "</td><td>{}", escape(page.help));
    for param in page.params {
        field(param, &id, out);
    }
    out.push_str("</td></tr>\n");
}

fn field(param: &Param, form: &str, out: &mut String) {
    let name = param.name;
    out.push_str("<label>");
    let _infallible = if param.flag {
        write!(out, "<input type='checkbox' name='{name}' form='{form}'> ")
    } else if param.choices.is_empty() {
        write!(out, "<input type='text' name='{name}' form='{form}'> ")
    } else {
        let options: String =
            param.choices.iter().map(|choice| format!("<option>{choice}</option>")).collect();
        write!(out, "<select name='{name}' form='{form}'>{options}</select> ")
    };
    let _infallible = write!(out, "{name}: {}</label>", escape(param.help));
}

/// Escapes text for HTML.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}
