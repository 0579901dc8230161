//! Draws how latency grows with the load.

use std::path::Path;

use plotters::prelude::*;

use crate::envoy::{Mesh, Tokens, Way};
use crate::load::{Load, Outcome, Pace, Refused};
use crate::process::{CLIENT, Server, Work, ask};
use crate::report::DOCS;
use crate::scene::Scene;
use crate::server;

const SECONDS: f64 = 1.5;

/// The colors of the lines, in order.
const COLORS: [RGBColor; 4] = [
    RGBColor(200, 60, 50),
    RGBColor(225, 150, 30),
    RGBColor(110, 110, 110),
    RGBColor(30, 100, 190),
];

/// A line of a plot: requests per second and milliseconds.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Line {
    /// Measures at these rates until the server does not keep up.
    fn of(name: &str, rates: &[f64], load: impl Fn(Pace) -> Load) -> Self {
        let mut points = Vec::new();
        for rate in rates {
            let pace = Pace::Open {
                rate: *rate,
                seconds: SECONDS,
            };
            // Disturbances only make a measurement longer, so the shorter one counts.
            let outcomes: [Outcome; 2] = [(); 2].map(|()| ask(CLIENT, &load(pace)));
            // A server refuses requests that are late beyond the deadline of a check.
            if outcomes.iter().all(|outcome| outcome.refused > 0) {
                break;
            }
            let p99 = outcomes[0].p99.min(outcomes[1].p99);
            points.push((*rate, p99));
            if p99 > 100.0 {
                break;
            }
        }
        Self {
            name: name.replace('`', ""),
            points,
        }
    }
}

/// Draws `check-latency.svg` and `envoy-latency.svg`.
pub fn draw(scene: &Scene) {
    let direct = [
        ("constant allow", server::constant(scene, Work::Nothing)),
        ("claimgate, token remembered", server::claimgate(scene)),
    ];
    // The client itself cannot send many more on one core.
    let rates: Vec<f64> = (1..=7).map(|step| 10_000.0 * f64::from(step)).collect();
    let line = |(name, server): &(&str, Server)| {
        ask(CLIENT, &server.checks(&scene.one, 10_000));
        Line::of(name, &rates, |pace| Load {
            pace,
            refused: Refused::Any,
            ..server.checks(&scene.one, 0)
        })
    };
    let lines: Vec<Line> = direct.iter().map(line).collect();
    picture("check-latency.svg", "Check, one core", &lines);

    let rates: Vec<f64> = (1..=8).map(|step| 3_000.0 * f64::from(step)).collect();
    let ways = [
        Way::JwtAuthn,
        Way::JwtAuthnWithCache,
        Way::ConstantWithClaims,
        Way::Claimgate,
    ];
    let lines = ways.map(|way| {
        let mesh = Mesh::start(way, scene);
        ask(
            CLIENT,
            &mesh.load(scene, Tokens::One, Pace::Closed { count: 5_000 }),
        );
        Line::of(way.name(), &rates, |pace| Load {
            refused: Refused::Any,
            ..mesh.load(scene, Tokens::One, pace)
        })
    });
    picture("envoy-latency.svg", "Through Envoy with one worker", &lines);
}

fn picture(file: &str, title: &str, lines: &[Line]) {
    let path = Path::new(DOCS).join(file);
    let area = SVGBackend::new(&path, (760, 440)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = points().map(|(rate, _)| *rate).fold(0.0, f64::max);
    let mut chart = ChartBuilder::on(&area)
        .caption(format!("{title}: 99th percentile"), ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(0.0..most * 1.02, (0.05..1_000.0).log_scale())
        .unwrap();
    chart
        .configure_mesh()
        .x_desc("requests/s asked for")
        .y_desc("milliseconds")
        .x_label_formatter(&|rate| format!("{rate:.0}"))
        .light_line_style(TRANSPARENT)
        .draw()
        .unwrap();
    for (line, color) in lines.iter().zip(COLORS.into_iter().cycle()) {
        let points = line.points.clone();
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)).point_size(3))
            .unwrap()
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK.mix(0.2))
        .draw()
        .unwrap();
    area.present().unwrap();
}
