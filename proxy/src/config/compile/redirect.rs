//! `RedirectAction`.

use std::sync::Arc;

use ringway_xds::api::envoy::config::route::v3 as api;

use super::at::At;
use super::cx::Cx;
use super::scalar::substitution;
use crate::plan::route::{Redirect, RedirectPath};

/// Compiles a redirect; `None` after an error.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    action: &api::RedirectAction,
) -> Option<Redirect> {
    use api::redirect_action::{
        PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier,
    };
    let api::RedirectAction {
        host_redirect,
        port_redirect,
        response_code,
        strip_query,
        scheme_rewrite_specifier,
        path_rewrite_specifier,
    } = action;
    let scheme = match scheme_rewrite_specifier {
        None | Some(SchemeRewriteSpecifier::HttpsRedirect(false)) => None,
        Some(SchemeRewriteSpecifier::HttpsRedirect(true)) => Some(Arc::from("https")),
        Some(SchemeRewriteSpecifier::SchemeRedirect(scheme)) => text(scheme),
    };
    let path = match path_rewrite_specifier {
        None => RedirectPath::Keep,
        Some(PathRewriteSpecifier::PathRedirect(path)) => {
            text(path).map_or(RedirectPath::Keep, RedirectPath::Path)
        }
        Some(PathRewriteSpecifier::PrefixRewrite(prefix)) => {
            text(prefix).map_or(RedirectPath::Keep, RedirectPath::Prefix)
        }
        Some(PathRewriteSpecifier::RegexRewrite(regex)) => {
            match substitution(cx, &at.field("regex_rewrite"), regex) {
                Some((regex, text)) => RedirectPath::Regex(regex, text),
                None => RedirectPath::Keep,
            }
        }
        Some(PathRewriteSpecifier::PathRewrite(_)) => {
            cx.unsupported(&at.field("path_rewrite"));
            return None;
        }
    };
    let port = match u16::try_from(*port_redirect) {
        Ok(0) => None,
        Ok(port) => Some(port),
        Err(_) => {
            cx.invalid_allowed(&at.field("port_redirect"), "not a port", "0 to 65535");
            None
        }
    };
    let status = match RedirectResponseCode::try_from(*response_code) {
        Ok(RedirectResponseCode::Found) => 302,
        Ok(RedirectResponseCode::SeeOther) => 303,
        Ok(RedirectResponseCode::TemporaryRedirect) => 307,
        Ok(RedirectResponseCode::PermanentRedirect) => 308,
        Ok(RedirectResponseCode::MovedPermanently) | Err(_) => 301,
    };
    let (host, strip_query) = (text(host_redirect), *strip_query);
    Some(Redirect { scheme, host, port, path, status, strip_query })
}

/// An empty string is an absent one in Envoy's redirects.
fn text(text: &str) -> Option<Arc<str>> {
    (!text.is_empty()).then(|| Arc::from(text))
}
