use super::*;
use crate::load::{Latency, Report};

fn report() -> Report {
    Report {
        url: "http://a/<b>&c".to_owned(),
        connections: 64,
        rate: Some(10_000.0),
        seconds: 2.0,
        answered: 20_000,
        requests_per_second: 10_000.0,
        latency: Latency { p50: 146.0, p99: 1236.0, ..Latency::default() },
        curve: vec![(0.0, 90.0), (0.5, 146.0), (0.9, 300.0), (0.99, 1236.0)],
        ..Report::default()
    }
}

#[test]
fn text_has_the_figures() {
    let text = text(&report());
    for part in ["open loop at 10 000 requests/s", "146 µs", "1.24 ms", "Failures   none"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn plots_are_escaped_and_balanced() {
    for page in [html(&report()), latency_svg(&report())] {
        assert!(!page.contains("<b>"), "{page}");
        assert_eq!(page.matches("<text").count(), page.matches("</text>").count());
        assert_eq!(page.matches("<svg").count(), 1);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }
}

#[test]
fn plots_of_nothing_are_plots() {
    let empty = [curves("nothing", &[]), bars("nothing", "µs", &[])];
    for page in empty {
        assert!(page.ends_with("</svg>\n") && !page.contains("NaN") && !page.contains("inf"));
    }
}

#[test]
fn longer_bars_for_larger_values() {
    let bar =
        |value| Bar { name: "x".into(), color: COLORS[0], value, range: Some((value, value)) };
    let page = bars("title", "µs", &[("group".to_owned(), vec![bar(10.0), bar(20.0)])]);
    let widths: Vec<f64> = page
        .lines()
        .filter(|line| line.contains("height=\"18.0\""))
        .filter_map(|line| line.split("width=\"").nth(1)?.split('"').next()?.parse().ok())
        .collect();
    assert_eq!(widths.len(), 2);
    assert!((widths[1] - 2.0 * widths[0]).abs() < 1.0, "{widths:?}");
}
