//! `ExtensionConfigSource`: filters whose options come by ECDS.

use std::sync::Arc;

use prost_types::Any;
use ringway_xds::api::envoy::config::core::v3 as core;
use xxhash_rust::xxh64::xxh64;

use super::at::At;
use super::cx::Cx;
use super::scalar::type_name;
use super::{http_filters, listener_filters, source};
use crate::plan::extension::{
    Extension, ExtensionKind, ExtensionSlot, NewSlot, Options, SlotScope,
};

/// The slot a filter's options come to; `None` after an error.
pub(crate) fn slot(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    name: &str,
    kind: ExtensionKind,
    config: &core::ExtensionConfigSource,
) -> Option<Arc<ExtensionSlot>> {
    let core::ExtensionConfigSource {
        config_source,
        default_config,
        apply_default_config_without_warming,
        type_urls,
    } = config;
    let source = source::compile(cx, &at.field("config_source"), config_source.as_ref());
    let types: Vec<Arc<str>> = type_urls.iter().map(|url| Arc::from(type_name(url))).collect();
    for (index, wanted) in types.iter().enumerate() {
        if !known(kind).contains(&&**wanted) {
            let at = at.field("type_urls");
            cx.unsupported_allowed(&at.index(index), wanted, &known(kind).join(", "));
        }
    }
    let default_at = at.field("default_config");
    if *apply_default_config_without_warming && default_config.is_none() {
        let message = format!(
            "Error: cannot apply default config without warming without setting default config for \
             {name}"
        );
        cx.invalid(&default_at, message);
    }
    let default = default_config.as_ref().and_then(|any| {
        let found = options(cx, &default_at, kind, &types, any)?;
        let hash = xxh64(&any.value, xxh64(any.type_url.as_bytes(), 0)).max(1);
        Some((hash, Arc::new(Extension(found))))
    });
    let new = NewSlot {
        name: Arc::from(name),
        source: source?,
        kind,
        types,
        scope: scope(cx, kind),
        starts_with_default: *apply_default_config_without_warming,
        default,
    };
    let slot = shared(cx, new);
    cx.needs.extensions.push(Arc::clone(&slot));
    Some(slot)
}

/// What of the filter's surroundings its options depend on.
fn scope(cx: &Cx<'_>, kind: ExtensionKind) -> SlotScope {
    match kind {
        ExtensionKind::Http => {
            SlotScope { http_prefix: cx.http_prefix.clone(), direction: cx.direction }
        }
        ExtensionKind::Listener => SlotScope::default(),
    }
}

/// The slot there is for the same, or a new one.
fn shared(cx: &mut Cx<'_>, new: NewSlot) -> Arc<ExtensionSlot> {
    cx.kept.extensions.retain(|slot| slot.strong_count() > 0);
    let default_hash = new.default.as_ref().map_or(0, |(hash, _)| *hash);
    let same = |slot: &Arc<ExtensionSlot>| {
        slot.kind == new.kind
            && slot.name == new.name
            && slot.source == new.source
            && slot.types == new.types
            && slot.scope == new.scope
            && slot.starts_with_default == new.starts_with_default
            && slot.default_hash == default_hash
    };
    if let Some(slot) = cx.kept.extensions.iter().filter_map(|slot| slot.upgrade()).find(same) {
        return slot;
    }
    let slot = Arc::new(ExtensionSlot::new(new));
    cx.kept.extensions.push(Arc::downgrade(&slot));
    slot
}

/// Compiles options for a slot.
pub(crate) fn compile(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    slot: &ExtensionSlot,
    config: &core::TypedExtensionConfig,
) -> Option<Arc<Extension>> {
    let core::TypedExtensionConfig { name, typed_config } = config;
    let Some(any) = typed_config else {
        super::listener::missing_type(cx, at, name);
        return None;
    };
    let at = at.field("typed_config");
    let SlotScope { http_prefix, direction } = &slot.scope;
    cx.http_prefix.clone_from(http_prefix);
    cx.direction = *direction;
    options(cx, &at, slot.kind, &slot.types, any).map(|found| Arc::new(Extension(found)))
}

fn options(
    cx: &mut Cx<'_>,
    at: &At<'_>,
    kind: ExtensionKind,
    types: &[Arc<str>],
    any: &Any,
) -> Option<Options> {
    let any = cx.typed(at, any)?;
    let (any, found) = (&*any, type_name(&any.type_url));
    if !types.iter().any(|wanted| **wanted == *found) {
        let message = format!(
            "Error: filter config has type URL {found} but expect {}.",
            types.iter().map(|name| &**name).collect::<Vec<_>>().join(", ")
        );
        cx.invalid(at, message);
        return None;
    }
    match kind {
        ExtensionKind::Http => http_filters::options(cx, at, any).map(Options::Http),
        ExtensionKind::Listener => listener_filters::options(cx, at, any).map(Options::Listener),
    }
}

/// Types of options a filter of this kind may have.
fn known(kind: ExtensionKind) -> Vec<&'static str> {
    match kind {
        ExtensionKind::Http => crate::filters::type_names(false),
        ExtensionKind::Listener => listener_filters::known().collect(),
    }
}
