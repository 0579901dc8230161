//! Envoy's `CheckRequest` with every field that Envoy fills, for a service that decodes the whole
//! message; and one such message of about 1.9 KB.

use std::collections::HashMap;

use bytes::{BufMut as _, Bytes};

#[derive(Clone, PartialEq, prost::Message)]
pub struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    pub attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Attributes {
    #[prost(message, optional, tag = "1")]
    pub source: Option<Peer>,
    #[prost(message, optional, tag = "2")]
    pub destination: Option<Peer>,
    #[prost(message, optional, tag = "4")]
    pub request: Option<Request>,
    #[prost(map = "string, string", tag = "10")]
    pub context_extensions: HashMap<String, String>,
    #[prost(message, optional, tag = "11")]
    pub metadata_context: Option<Metadata>,
    #[prost(message, optional, tag = "13")]
    pub route_metadata_context: Option<Metadata>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Metadata {
    #[prost(map = "string, message", tag = "1")]
    pub filter_metadata: HashMap<String, prost_types::Struct>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Peer {
    #[prost(message, optional, tag = "1")]
    pub address: Option<Address>,
    #[prost(string, tag = "2")]
    pub service: String,
    #[prost(map = "string, string", tag = "3")]
    pub labels: HashMap<String, String>,
    #[prost(string, tag = "4")]
    pub principal: String,
    #[prost(string, tag = "5")]
    pub certificate: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Address {
    #[prost(message, optional, tag = "1")]
    pub socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SocketAddress {
    #[prost(string, tag = "2")]
    pub address: String,
    #[prost(uint32, tag = "3")]
    pub port_value: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Request {
    #[prost(message, optional, tag = "1")]
    pub time: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "2")]
    pub http: Option<Http>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Http {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(string, tag = "2")]
    pub method: String,
    #[prost(map = "string, string", tag = "3")]
    pub headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    pub path: String,
    #[prost(string, tag = "5")]
    pub host: String,
    #[prost(string, tag = "6")]
    pub scheme: String,
    #[prost(string, tag = "7")]
    pub query: String,
    #[prost(string, tag = "8")]
    pub fragment: String,
    #[prost(int64, tag = "9")]
    pub size: i64,
    #[prost(string, tag = "10")]
    pub protocol: String,
    #[prost(string, tag = "11")]
    pub body: String,
}

/// The headers that a browser sends.
const HEADERS: [(&str, &str); 14] = [
    ("accept", "application/json, text/plain, */*"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "en-GB,en;q=0.9,de;q=0.8"),
    (
        "cookie",
        "theme=dark; consent=1; lang=en; _ga=GA1.2.1234567890.1767225600",
    ),
    ("origin", "https://shop.example.com"),
    ("referer", "https://shop.example.com/account/orders"),
    ("sec-ch-ua-platform", "\"Linux\""),
    ("sec-fetch-dest", "empty"),
    ("sec-fetch-mode", "cors"),
    ("sec-fetch-site", "same-site"),
    (
        "user-agent",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36",
    ),
    ("x-forwarded-for", "203.0.113.7"),
    ("x-forwarded-proto", "https"),
    ("x-request-id", "7c6c1f0e-5f0c-4a0e-9d6c-0a1b2c3d4e5f"),
];

const PATH: &str = "/orders/4711?expand=items";
const HOST: &str = "api.example.com";

/// The HTTP/2 request of a gRPC call to `Check`.
pub fn call() -> http::Request<()> {
    http::Request::post("http://claimgate/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("grpc-timeout", "500m")
        .body(())
        .unwrap()
}

/// A message with gRPC's prefix.
pub fn framed(message: &[u8]) -> Bytes {
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap());
    framed.put_slice(message);
    framed.into()
}

/// A browser's request with this token.
pub fn request(token: &str) -> http::Request<()> {
    let mut request = http::Request::get(format!("http://{HOST}{PATH}"));
    for (name, value) in HEADERS {
        request = request.header(name, value);
    }
    let request = request.header("authorization", format!("Bearer {token}"));
    request.body(()).unwrap()
}

/// The `CheckRequest` that Envoy sends for a browser's request, with this token if any.
pub fn check(token: Option<&str>) -> CheckRequest {
    let pseudo = [
        (":authority", HOST),
        (":method", "GET"),
        (":path", PATH),
        (":scheme", "https"),
    ];
    let lines = pseudo.iter().chain(&HEADERS);
    let mut headers: HashMap<String, String> = lines
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    if let Some(token) = token {
        headers.insert("authorization".to_owned(), format!("Bearer {token}"));
    }
    let peer = |address: &str, port| Peer {
        address: Some(Address {
            socket_address: Some(SocketAddress {
                address: address.to_owned(),
                port_value: port,
            }),
        }),
        ..Peer::default()
    };
    CheckRequest {
        attributes: Some(Attributes {
            source: Some(peer("203.0.113.7", 51_234)),
            destination: Some(peer("10.4.0.12", 8443)),
            request: Some(Request {
                time: Some(prost_types::Timestamp {
                    seconds: 1_767_225_600,
                    nanos: 123_456_000,
                }),
                http: Some(Http {
                    id: "16340487220531213862".to_owned(),
                    method: "GET".to_owned(),
                    headers,
                    path: PATH.to_owned(),
                    host: HOST.to_owned(),
                    scheme: "https".to_owned(),
                    size: -1,
                    protocol: "HTTP/2".to_owned(),
                    ..Http::default()
                }),
            }),
            metadata_context: Some(Metadata::default()),
            route_metadata_context: Some(Metadata::default()),
            ..Attributes::default()
        }),
    }
}
