//! The operator's HTTP listener.

use std::net::{Ipv4Addr, SocketAddr};

use super::Resolver;
use crate::document::Field;
use crate::raw::listen::Listen;
use crate::{Admin, AdminListen, ListenAddress, raw, values};

/// The address if the configuration gives none.
const DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9002);

impl Resolver<'_> {
    pub(super) fn admin(&mut self, admin: raw::Admin) -> Admin {
        let raw::Admin {
            listen,
            tls,
            token_file,
            allowed_hosts,
            explain,
        } = admin;
        let listen = self.admin_listen(&listen);
        let addresses = match &listen {
            AdminListen::At(address) => std::slice::from_ref(address),
            AdminListen::Off => &[],
        };
        let tls = self.tls(tls, addresses);
        let wanted = "at least one name, or remove it";
        let mut hosts = Vec::new();
        for (location, name) in self.texts(allowed_hosts, wanted) {
            hosts.extend(self.parsed(&location, values::host_name(&name)));
        }
        Admin {
            listen,
            tls,
            token_file: self.named_file(&token_file),
            allowed_hosts: hosts,
            explain: explain.value().copied().unwrap_or(false),
        }
    }

    fn admin_listen(&mut self, listen: &Field<Listen>) -> AdminListen {
        let address = match listen.given() {
            Some((_, Listen::Address(text))) if text == "off" => return AdminListen::Off,
            Some((location, listen)) => self.address(location, listen),
            None => None,
        };
        AdminListen::At(address.unwrap_or(ListenAddress::Tcp(DEFAULT)))
    }
}
