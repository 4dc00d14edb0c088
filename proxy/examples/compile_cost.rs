//! What clusters and their assignments cost the control thread: processor time and memory.
//!
//! `cargo run --profile quick -p ringway --example compile_cost [-- CLUSTERS [ROUNDS]]`
//!
//! The figures are of what a management server's bytes cost from their field rules to the part of
//! the plan, names of statistics included; nothing is sent to shards.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use ringway::config::compile::Compiler;
use ringway::observe::stats::Registry;
use ringway::plan::source::ConfigSource;
use ringway::plan::{Cluster, HostSet};
use ringway_xds::api::envoy::config::cluster::v3 as cluster_api;
use ringway_xds::api::envoy::config::core::v3 as core;
use ringway_xds::api::envoy::config::endpoint::v3 as endpoint_api;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let mut arguments = std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok());
    let count = arguments.next().unwrap_or(5000);
    let rounds = arguments.next().unwrap_or(3);
    let clusters: Vec<Vec<u8>> = (0..count).map(|i| cluster(i).encode_to_vec()).collect();
    let assignments: Vec<Vec<u8>> = (0..count).map(|i| assignment(i).encode_to_vec()).collect();
    for _ in 0..rounds {
        round(&clusters, &assignments);
    }
}

fn round(clusters: &[Vec<u8>], assignments: &[Vec<u8>]) {
    let mut compiler = Compiler::new(2, false);
    compiler.own(Registry::new(4));
    let ads = ConfigSource::ads();
    let (start, before) = (processor_time(), resident_bytes());
    let compiled: Vec<Arc<Cluster>> = clusters
        .iter()
        .map(|bytes| {
            let config = compiler.decode::<cluster_api::Cluster>(bytes).expect("good").value;
            compiler.cluster(&config, &ads).expect("good").value
        })
        .collect();
    let (middle, between) = (processor_time(), resident_bytes());
    let hosts: Vec<Arc<HostSet>> = compiled
        .iter()
        .zip(assignments)
        .map(|(cluster, bytes)| {
            let config =
                compiler.decode::<endpoint_api::ClusterLoadAssignment>(bytes).expect("good").value;
            compiler.assignment(cluster, &config, &cluster.hosts).expect("good").value.hosts
        })
        .collect();
    let (end, after) = (processor_time(), resident_bytes());
    compiler.registry().publish();
    let named = processor_time();
    let each = |total: Duration| total.as_secs_f64() * 1e6 / clusters.len() as f64;
    let bytes = |from: usize, to: usize| to.saturating_sub(from) / clusters.len();
    println!(
        "clusters: {:.1} us, {} bytes each; assignments: {:.1} us, {} bytes each; publish {:.1} ms",
        each(middle - start),
        bytes(before, between),
        each(end - middle),
        bytes(between, after),
        (named - end).as_secs_f64() * 1e3,
    );
    drop((compiled, hosts));
}

/// A cluster as istiod sends it, without TLS.
fn cluster(index: usize) -> cluster_api::Cluster {
    use core::config_source::ConfigSourceSpecifier;
    let eds_config = core::ConfigSource {
        config_source_specifier: Some(ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {})),
        initial_fetch_timeout: Some(prost_types::Duration::default()),
        resource_api_version: core::ApiVersion::V3 as i32,
        ..Default::default()
    };
    let name = format!("outbound|80||service-{index}.namespace.svc.cluster.local");
    cluster_api::Cluster {
        name: name.clone(),
        cluster_discovery_type: Some(cluster_api::cluster::ClusterDiscoveryType::Type(
            cluster_api::cluster::DiscoveryType::Eds as i32,
        )),
        eds_cluster_config: Some(cluster_api::cluster::EdsClusterConfig {
            eds_config: Some(eds_config),
            service_name: name,
        }),
        connect_timeout: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
        circuit_breakers: Some(cluster_api::CircuitBreakers {
            thresholds: vec![cluster_api::circuit_breakers::Thresholds {
                max_connections: Some(u32::MAX),
                max_pending_requests: Some(u32::MAX),
                max_requests: Some(u32::MAX),
                max_retries: Some(u32::MAX),
                track_remaining: true,
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn assignment(index: usize) -> endpoint_api::ClusterLoadAssignment {
    let endpoint = |last: u32| {
        let host = index as u32 * 2 + last;
        let address = core::SocketAddress {
            address: format!("10.{}.{}.{}", host >> 16, (host >> 8) & 255, host & 255),
            port_specifier: Some(core::socket_address::PortSpecifier::PortValue(8080)),
            ..Default::default()
        };
        let address =
            core::Address { address: Some(core::address::Address::SocketAddress(address)) };
        let endpoint = endpoint_api::Endpoint { address: Some(address), ..Default::default() };
        endpoint_api::LbEndpoint {
            load_balancing_weight: Some(1),
            host_identifier: Some(endpoint_api::lb_endpoint::HostIdentifier::Endpoint(endpoint)),
            ..Default::default()
        }
    };
    endpoint_api::ClusterLoadAssignment {
        cluster_name: format!("outbound|80||service-{index}.namespace.svc.cluster.local"),
        endpoints: vec![endpoint_api::LocalityLbEndpoints {
            locality: Some(core::Locality {
                region: "region".into(),
                zone: "zone".into(),
                sub_zone: String::new(),
            }),
            lb_endpoints: vec![endpoint(0), endpoint(1)],
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Time this process has used its processors for.
fn processor_time() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Memory of this process that is in use.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}
