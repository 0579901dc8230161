//! The whole service on free loopback ports.

use std::net::SocketAddr;

use claimgate::app::{self, StartError};
use claimgate::config::Config;
use claimgate::ext_authz::proto::auth::CheckRequest;
use claimgate::ext_authz::proto::auth::authorization_client::AuthorizationClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::call::Answer;
use super::gate::Still;

pub struct Server {
    pub check: SocketAddr,
    pub admin: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), StartError>>,
}

impl Server {
    /// Starts with these providers.
    pub async fn start(providers: &str) -> Self {
        Self::start_on("127.0.0.1:0", providers).await
    }

    pub async fn start_on(listen: &str, providers: &str) -> Self {
        Self::start_listening(&format!("\"{listen}\""), providers).await
    }

    /// Starts with this `listen` as YAML, and the sections after it.
    pub async fn start_listening(listen: &str, providers: &str) -> Self {
        Self::start_with(&format!("listen: {listen}"), providers).await
    }

    /// Starts with these fields of `server` as YAML, and the sections after it.
    pub async fn start_with(server: &str, providers: &str) -> Self {
        Self::start_both(server, "listen: 127.0.0.1:0", providers).await
    }

    /// Starts with these fields of `admin` as YAML, and the sections after it.
    pub async fn start_admin(admin: &str, providers: &str) -> Self {
        Self::start_both("listen: 127.0.0.1:0", admin, providers).await
    }

    async fn start_both(server: &str, admin: &str, providers: &str) -> Self {
        let server = format!("server: {{ {server}, drain: 0s }}\nadmin: {{ {admin} }}\n");
        let config = Config::from_yaml(&format!("{server}{providers}")).unwrap();
        let app = app::bind(config, Still::default()).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        Self {
            check: app.check_address().unwrap_or(nowhere),
            admin: app.admin_address().unwrap_or(nowhere),
            stop,
            serving: tokio::spawn(app.run(async {
                stopped.await.unwrap();
            })),
        }
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.check)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub async fn check(&self, check: CheckRequest) -> Answer {
        let mut client = AuthorizationClient::new(self.channel().await);
        Answer::read(client.check(check).await.unwrap().into_inner())
    }

    /// Waits until health checks report that the service is ready.
    pub async fn is_serving(&self) {
        let request = HealthCheckRequest::default();
        let told = HealthClient::new(self.channel().await).watch(request).await;
        let mut told = told.unwrap().into_inner();
        while told.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
    }

    /// Status and body of a page of the admin listener.
    pub async fn page(&self, path: &str) -> (u16, String) {
        let (head, body) = self.page_as(path, "*/*").await;
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
    }

    /// Head and body of a page of the admin listener, in the format that `accept` asks for.
    pub async fn page_as(&self, path: &str, accept: &str) -> (String, String) {
        let mut stream = TcpStream::connect(self.admin).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    /// Asks the service to stop, and waits until it has.
    pub async fn stop(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}
