//! Whether a service answers as it must. A fast wrong answer is worth nothing.

use std::time::Duration;

use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use claimgate::ext_authz::proto::auth::check_response::HttpResponse;
use claimgate::ext_authz::proto::auth::{CheckRequest, CheckResponse};
use prost::Message as _;

use crate::load;
use crate::process::{Server, block_on};
use crate::scene::Scene;

/// The header that carries the subject.
const SUBJECT: &str = "x-auth-subject";

/// What is wrong with the answers of this service, one line each.
pub fn wrong(server: &Server, scene: &Scene) -> Vec<String> {
    let load::Server::Tcp(address) = server.server else {
        panic!("the service listens on TCP")
    };
    block_on(async {
        let address = format!("http://{address}");
        let mut client = AuthorizationClient::connect(address).await.unwrap();
        let mut wrong = Vec::new();
        for (what, message, expected) in &scene.expected {
            let check = CheckRequest::decode(message.as_slice()).unwrap();
            let answer = tokio::time::timeout(Duration::from_secs(5), client.check(check));
            let found = match answer.await {
                Ok(Ok(response)) => subject(&response.into_inner()),
                Ok(Err(status)) => Err(format!("gRPC error {status}")),
                Err(_) => Err("no answer".to_owned()),
            };
            if found.as_ref() != Ok(expected) {
                wrong.push(format!("{what}: {found:?} instead of {expected:?}"));
            }
        }
        wrong
    })
}

/// The subject that the upstream gets. `None` for a denial with 401 or 403.
fn subject(response: &CheckResponse) -> Result<Option<String>, String> {
    let code = response.status.as_ref().map_or(0, |status| status.code);
    match &response.http_response {
        Some(HttpResponse::OkResponse(allowed)) if code == 0 => {
            let headers = allowed.headers.iter().filter_map(|set| set.header.as_ref());
            let mut found = headers.filter(|header| header.key.eq_ignore_ascii_case(SUBJECT));
            match found.next() {
                Some(header) if header.raw_value.is_empty() => Ok(Some(header.value.clone())),
                Some(header) => String::from_utf8(header.raw_value.clone())
                    .map(Some)
                    .map_err(|error| error.to_string()),
                None => Err(format!("allowed without `{SUBJECT}`")),
            }
        }
        Some(HttpResponse::DeniedResponse(denied)) if code != 0 => {
            let status = denied.status.as_ref().map_or(403, |status| status.code);
            match status {
                401 | 403 => Ok(None),
                other => Err(format!("denied with {other}")),
            }
        }
        other => Err(format!("code {code} with {other:?}")),
    }
}
