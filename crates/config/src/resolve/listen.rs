//! The addresses of both listeners, and their TLS.

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::Resolver;
use crate::document::{Field, Location};
use crate::raw::listen::{Listen, Listens, Socket};
use crate::raw::values::Texts;
use crate::{Clients, ListenAddress, Tls, UnixSocket, raw, values};

/// The address if the configuration gives none.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), 9001);

/// The default number of connections. A mesh of 1,000 sidecars fits, and idle connections take
/// about 16 MiB.
const MAX_CONNECTIONS: u32 = 1024;

impl Resolver<'_> {
    pub(super) fn listen(&mut self, listen: Field<Listens>) -> Vec<ListenAddress> {
        let (location, listens) = match listen {
            Field::Given(location, Listens::One(one)) => {
                (location.clone(), vec![Field::Given(location, one)])
            }
            Field::Given(location, Listens::Many(many)) => (location, many),
            Field::Absent | Field::Invalid => return vec![ListenAddress::Tcp(DEFAULT)],
        };
        if listens.is_empty() {
            self.report(&location, "empty; give at least one address");
        }
        let mut addresses = Vec::new();
        for listen in listens {
            match listen {
                Field::Given(location, listen) => {
                    addresses.extend(self.address(&location, &listen));
                }
                Field::Absent => self.report(&location, "an entry is empty"),
                Field::Invalid => {}
            }
        }
        addresses
    }

    pub(super) fn address(
        &mut self,
        location: &Location,
        listen: &Listen,
    ) -> Option<ListenAddress> {
        match listen {
            Listen::Address(text) if text.is_empty() => {
                self.report(location, "empty text");
                None
            }
            Listen::Address(text) => {
                let address = self.parsed(location, values::listen_address(text))?;
                Some(self.in_directory(address))
            }
            Listen::Socket(socket) => self.socket(location, socket).map(ListenAddress::Unix),
        }
    }

    fn socket(&mut self, location: &Location, socket: &Socket) -> Option<UnixSocket> {
        let Socket { unix, mode, group } = socket;
        let (location, path) = self.required(location, "unix", unix)?;
        if path.is_empty() {
            self.report(location, "empty text");
            return None;
        }
        // If `unix` holds an address that was copied from elsewhere, use the path in it.
        let path = match values::unix_path(path) {
            Some(path) => self.parsed(location, path)?,
            None => PathBuf::from(path),
        };
        let mode = match mode.given() {
            Some((location, mode)) => Some(self.parsed(location, values::file_mode(mode))?),
            None => None,
        };
        if let Some((location, group)) = group.given()
            && group.is_empty()
        {
            self.report(location, "empty text");
        }
        Some(UnixSocket {
            path: self.directory.join(path),
            mode,
            group: group.value().cloned(),
        })
    }

    fn in_directory(&self, address: ListenAddress) -> ListenAddress {
        match address {
            ListenAddress::Unix(socket) => ListenAddress::Unix(UnixSocket {
                path: self.directory.join(socket.path),
                ..socket
            }),
            other => other,
        }
    }

    pub(super) fn tls(
        &mut self,
        tls: Field<raw::listen::Tls>,
        addresses: &[ListenAddress],
    ) -> Option<Tls> {
        let Field::Given(location, tls) = tls else {
            return None;
        };
        let raw::listen::Tls {
            certificate,
            key,
            client_ca,
            allowed_clients,
        } = tls;
        let is_unix = |address: &ListenAddress| matches!(address, ListenAddress::Unix(_));
        if !addresses.is_empty() && addresses.iter().all(is_unix) {
            let why = "has no effect: `listen` names Unix domain sockets only, which are always \
                       plain text";
            self.warn(&location, why);
        }
        let clients = self.clients(&client_ca, allowed_clients);
        self.required(&location, "certificate", &certificate);
        self.required(&location, "key", &key);
        Some(Tls {
            certificate: self.named_file(&certificate)?,
            key: self.named_file(&key)?,
            clients,
        })
    }

    fn clients(
        &mut self,
        client_ca: &Field<String>,
        allowed_clients: Field<Texts>,
    ) -> Option<Clients> {
        if let (Field::Absent, Field::Given(location, _)) = (client_ca, &allowed_clients) {
            let why = "requires `client_ca`, the authority that signs the clients' certificates";
            self.report(location, why);
        }
        let is_limited = matches!(allowed_clients, Field::Given(..));
        let wanted = "at least one name, or remove it to let every client of `client_ca` connect";
        let mut allowed = Vec::new();
        for (location, name) in self.texts(allowed_clients, wanted) {
            allowed.extend(self.parsed(&location, values::client_name(&name)));
        }
        Some(Clients {
            authorities: self.named_file(client_ca)?,
            allowed: is_limited.then_some(allowed),
        })
    }

    /// A file whose name is not empty.
    pub(super) fn named_file(&mut self, field: &Field<String>) -> Option<PathBuf> {
        if let Some((location, file)) = field.given()
            && file.is_empty()
        {
            self.report(location, "empty text");
        }
        self.file(field)
    }

    pub(super) fn max_connections(&mut self, field: &Field<u32>) -> usize {
        let max = match field.given() {
            Some((location, max)) if !(1..=100_000).contains(max) => {
                self.report(
                    location,
                    format!("`{max}` is out of range: from 1 to 100000"),
                );
                MAX_CONNECTIONS
            }
            given => given.map_or(MAX_CONNECTIONS, |(_, max)| *max),
        };
        usize::try_from(max).unwrap_or(usize::MAX)
    }
}
