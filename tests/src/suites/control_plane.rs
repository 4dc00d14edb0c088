//! The integration application of go-control-plane: a control plane that changes its whole snapshot
//! again and again, and asks through every listener whether traffic passes.

use super::{Outcome, run};
use crate::diff::case::{Action, Rule, UpstreamOptions};
use crate::diff::e2e_dir;
use crate::diff::upstream::Upstream;
use crate::proxy::{self, Kind, Proxy};
use crate::{bins, certs, ports};
use anyhow::{Context, Result};
use std::net::TcpListener;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// How the proxy is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All types on one stream, state of the world.
    Ads,
    /// The same, with listeners that speak TLS and secrets that come by SDS.
    AdsTls,
    /// A stream for each type.
    Xds,
    /// The same, with endpoints from a cache of their own.
    XdsMux,
    /// Incremental, a stream for each type; with virtual hosts on demand.
    Delta,
    /// Incremental, all types on one stream.
    DeltaAds,
    /// Polled.
    Rest,
}

impl Mode {
    /// The application's arguments.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Ads => &["-xds=ads", "-runtimes=2"],
            Self::AdsTls => &["-xds=ads", "-runtimes=2", "-tls"],
            Self::Xds => &["-xds=xds"],
            Self::XdsMux => &["-xds=xds", "-mux"],
            Self::Delta => &["-xds=delta"],
            Self::DeltaAds => &["-xds=delta-ads"],
            Self::Rest => &["-xds=rest"],
        }
    }

    fn aggregated(self) -> Option<&'static str> {
        match self {
            Self::Ads | Self::AdsTls => Some("GRPC"),
            Self::DeltaAds => Some("DELTA_GRPC"),
            _ => None,
        }
    }

    /// `ConfigSource` of everything.
    fn source(self) -> String {
        let api = match self {
            Self::Ads | Self::AdsTls | Self::DeltaAds => {
                return "{ resource_api_version: V3, ads: {} }".to_owned();
            }
            Self::Xds | Self::XdsMux => grpc("GRPC"),
            Self::Delta => grpc("DELTA_GRPC"),
            Self::Rest => "{ api_type: REST, transport_api_version: V3, refresh_delay: 0.5s, \
                           cluster_names: [xds_cluster] }"
                .to_owned(),
        };
        format!("{{ resource_api_version: V3, api_config_source: {api} }}")
    }

    /// `DynamicResources`.
    fn dynamic(self) -> String {
        let source = self.source();
        let ads = self.aggregated().map(|kind| format!(", ads_config: {}", grpc(kind)));
        let ads = ads.unwrap_or_default();
        format!("{{ cds_config: {source}, lds_config: {source}{ads} }}")
    }

    /// `LayeredRuntime`: as many layers as the application has.
    fn runtime(self) -> String {
        let count = if matches!(self, Self::Ads | Self::AdsTls) { 2 } else { 1 };
        let source = self.source();
        let layer = |n| {
            let rtds = format!("{{ name: runtime-{n}, rtds_config: {source} }}");
            format!("{{ name: runtime-{n}, rtds_layer: {rtds} }}")
        };
        let layers: Vec<String> = (0..count).map(layer).collect();
        format!("{{ layers: [{}] }}", layers.join(", "))
    }
}

fn grpc(kind: &str) -> String {
    format!(
        "{{ api_type: {kind}, transport_api_version: V3, set_node_on_first_message_only: true, \
         grpc_services: [{{ envoy_grpc: {{ cluster_name: xds_cluster }} }}] }}"
    )
}

/// What the upstream answers, and the application expects to see.
const MESSAGE: &str = "Default message";

/// Listeners of the application are on so many ports, from a first one on.
const LISTENERS: u16 = 8;

/// Runs the application with the proxy in Envoy's place. It has one case: whether all is well.
///
/// # Errors
/// Something does not start.
pub fn integration(kind: Kind, mode: Mode) -> Result<Outcome> {
    let tool = bins::suite("bin/control-plane").map_err(anyhow::Error::msg)?;
    let answer = Action::Reply(200, MESSAGE.as_bytes().to_vec(), vec![]);
    let rule = Rule { upstream: 0, path: "/".into(), script: vec![answer] };
    let options = UpstreamOptions::default();
    let server = Upstream::start(vec![rule], options, &Arc::new(certs::Store::default()))?;
    let [xds, gateway, als, admin] = [(); 4].map(|()| ports::free());
    let first = free_run(LISTENERS).context("no run of free ports")?;
    let mut command = Command::new(tool);
    command.args(mode.arguments()).args(["-nodeID=node", "-message", MESSAGE]);
    for (flag, port) in [
        ("-port", xds),
        ("-gateway", gateway),
        ("-als", als),
        ("-upstream", server.port),
        ("-base", first),
    ] {
        command.args([flag, &port.to_string()]);
    }
    let application = std::thread::spawn(move || run(&mut command, Duration::from_secs(90)));
    let dir = proxy::new_dir()?;
    let asked = if mode == Mode::Rest { gateway } else { xds };
    let path = e2e_dir().join("suites/control_plane.yaml");
    let template = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let config = proxy::fill(&template, |name| match name {
        "admin" => Some(admin.to_string()),
        "xds" => Some(asked.to_string()),
        "als" => Some(als.to_string()),
        "dynamic" => Some(mode.dynamic()),
        "runtime" => Some(mode.runtime()),
        "http2" if mode == Mode::Rest => Some(String::new()),
        "http2" => Some("http2_protocol_options: {}".to_owned()),
        _ => None,
    })?;
    // Drained listeners keep their ports until the drain is over.
    let arguments = ["--drain-time-s".to_owned(), "1".to_owned()];
    let proxy = Proxy::start(kind, dir, &config, admin, &arguments)?;
    let ended = application.join().map_err(|_| anyhow::anyhow!("a thread panicked"))?;
    let mut outcome = Outcome { total: 1, ..Outcome::default() };
    match ended {
        Ok((said, true)) => {
            let batches = said.lines().filter(|line| line.contains("request batch"));
            outcome.notes.push(format!("{} batches of requests", batches.count()));
        }
        Ok((said, false)) => {
            let log = proxy.log_tail();
            let tail: Vec<&str> = said.lines().rev().take(12).collect();
            outcome.failed.push(format!("{mode:?}: {}\nproxy:\n{log}", tail.join("\n")));
        }
        Err(error) => outcome.failed.push(format!("{mode:?}: {error:#}\n{}", proxy.log_tail())),
    }
    Ok(outcome)
}

/// The first of `count` ports in a row that nobody listens on.
fn free_run(count: u16) -> Option<u16> {
    (0..200).find_map(|_| {
        let first = ports::free();
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        (first..first.checked_add(count)?).all(free).then_some(first)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mode_names_a_source_for_every_type() {
        for (mode, word) in [
            (Mode::Ads, "ads"),
            (Mode::Xds, "api_type: GRPC"),
            (Mode::Delta, "api_type: DELTA_GRPC"),
            (Mode::DeltaAds, "ads_config: { api_type: DELTA_GRPC"),
            (Mode::Rest, "api_type: REST"),
        ] {
            let dynamic = mode.dynamic();
            assert!(dynamic.contains(word), "{mode:?}: {dynamic}");
            assert!(mode.runtime().contains("runtime-0"), "{mode:?}");
        }
    }
}
