//! The span of a fetch of a provider's keys, from its metadata to the keys. A trace of its own: several
//! checks may wait for one fetch.

use tokio::time::Instant;
use url::Url;

use super::{Attribute, Span, SpanContext, SpanKind, Tracer, Value};
use crate::jwks::{FetchError, KeysError};
use claimgate_config::KeySettings;
use claimgate_core::keyring::KeySet;
use claimgate_core::time::Clock;

/// A fetch that is being recorded.
#[derive(Debug)]
pub(crate) struct FetchSpan {
    tracer: Tracer,
    context: SpanContext,
    began: Instant,
}

impl FetchSpan {
    /// Begins to record a fetch. `None` if it is not recorded.
    pub(crate) fn begin(tracer: Option<&Tracer>) -> Option<Self> {
        let tracer = tracer?;
        Some(Self {
            context: tracer.begin(None)?,
            tracer: tracer.clone(),
            began: Instant::now(),
        })
    }

    pub(crate) fn end(
        self,
        settings: &KeySettings,
        result: Result<&KeySet, &KeysError>,
        clock: &dyn Clock,
    ) {
        let Self {
            tracer,
            context,
            began,
        } = self;
        let end = clock.now();
        let mut attributes: Vec<Attribute> =
            vec![("claimgate.provider", settings.name.clone().into())];
        let url = settings.source.url();
        let host = url.and_then(Url::host_str);
        attributes.extend(host.map(|host| ("server.address", host.to_owned().into())));
        let port = url.and_then(Url::port_or_known_default);
        attributes.extend(port.map(|port| ("server.port", Value::Integer(port.into()))));
        match result {
            Ok(keys) => attributes.push(("claimgate.keys", keys.len().into())),
            Err(error) => attributes.extend(about_error(error)),
        }
        tracer.finish(Span {
            context,
            name: "fetch keys",
            kind: SpanKind::Client,
            start: end.saturating_sub(began.elapsed()),
            end,
            attributes,
            events: Vec::new(),
            error: result.err().map(ToString::to_string),
        });
    }
}

/// The status that the provider answered, if that is what is wrong.
fn about_error(error: &KeysError) -> Vec<Attribute> {
    let status = match error {
        KeysError::Fetch(error) => match &**error {
            FetchError::Status { status, .. } => Some(*status),
            _ => None,
        },
        _ => None,
    };
    match status {
        Some(status) => vec![
            ("error.type", status.as_str().to_owned().into()),
            (
                "http.response.status_code",
                Value::Integer(status.as_u16().into()),
            ),
        ],
        None => vec![("error.type", "_OTHER".into())],
    }
}
