//! Where spans and metrics are sent.

use super::{HOUR, MINUTE, Resolver, SECOND};
use crate::document::Field;
use crate::{Otlp, OtlpProtocol, Telemetry, raw, values};

impl Resolver<'_> {
    pub(super) fn telemetry(&mut self, telemetry: raw::telemetry::Telemetry) -> Telemetry {
        let raw::telemetry::Telemetry { otlp } = telemetry;
        Telemetry {
            otlp: match otlp {
                Field::Given(_, otlp) => Some(self.otlp(&otlp)),
                Field::Absent | Field::Invalid => None,
            },
        }
    }

    fn otlp(&mut self, otlp: &raw::telemetry::Otlp) -> Otlp {
        let raw::telemetry::Otlp {
            endpoint,
            protocol,
            headers_file,
            ca_file,
            traces,
            sample_ratio,
            metrics,
            metrics_interval,
        } = otlp;
        let protocols = OtlpProtocol::ALL.map(|protocol| (protocol.name(), Some(protocol)));
        let protocol = self.choice(protocol, &protocols);
        let endpoint = endpoint
            .given()
            .and_then(|(location, url)| self.parsed(location, values::otlp_endpoint(url)));
        let ratio = sample_ratio.given().map(|(location, ratio)| {
            if !(0.0..=1.0).contains(ratio) {
                self.report(location, format!("`{ratio}` is out of range: from 0 to 1"));
            }
            *ratio
        });
        let interval = metrics_interval
            .given()
            .map(|_| self.duration(metrics_interval, MINUTE, SECOND, HOUR));
        Otlp {
            endpoint,
            protocol,
            headers_file: self.named_file(headers_file),
            ca_file: self.named_file(ca_file),
            traces: traces.value().copied(),
            sample_ratio: ratio,
            metrics: metrics.value().copied(),
            metrics_interval: interval,
        }
    }
}
