//! Objects of Kubernetes: their kinds and names.

use std::collections::BTreeMap;
use std::fmt;

use super::Error;
use super::source::Document;

/// An API group whose objects are imported.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Its versions.
    pub versions: &'static [&'static str],
    /// The kinds that are imported.
    pub policies: &'static [&'static str],
    /// The kinds that change nothing here.
    pub others: &'static [&'static str],
}

/// The name of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    /// Its namespace.
    pub namespace: String,
    /// Its name there.
    pub name: String,
}

impl Name {
    /// The name of a document's object. `namespace` is that of objects that do not say theirs.
    ///
    /// # Errors
    ///
    /// Fails if the object has no namespace and `namespace` is `None`.
    pub fn of(document: &Document, namespace: Option<&str>) -> Result<Self, Error> {
        let metadata = document.root.get("metadata");
        let text = |name: &str| metadata.and_then(|node| node.text_of(name));
        let name = text("name").unwrap_or("unnamed").to_owned();
        let own = metadata.and_then(|metadata| metadata.get("namespace"));
        match (
            own.and_then(|own| own.text()).filter(|own| !own.is_empty()),
            own,
            namespace,
        ) {
            (Some(own), ..) => Ok(Self {
                namespace: own.to_owned(),
                name,
            }),
            (None, None, Some(namespace)) => Ok(Self {
                namespace: namespace.to_owned(),
                name,
            }),
            _ => Err(at(
                document,
                &format!(
                    "`{name}` has no namespace; `--namespace` names the one in which it is applied"
                ),
            )),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The objects of a group that are imported, with their names.
///
/// # Errors
///
/// Fails if an object is of an unknown kind or version, because it may restrict the others, and if there are two
/// of one name, because the cluster has only one of them.
pub fn of<'n>(
    documents: &'n [Document],
    group: &Group,
    namespace: Option<&str>,
) -> Result<Vec<(&'n Document, Name)>, Error> {
    let mut found = Vec::new();
    let mut lines: BTreeMap<(&str, Name), String> = BTreeMap::new();
    for document in documents {
        let Some(kind) = group.policy(document)? else {
            continue;
        };
        let name = Name::of(document, namespace)?;
        let place = format!("{}:{}", document.file, document.root.line);
        if let Some(other) = lines.insert((kind, name.clone()), place) {
            let text =
                format!("the {kind} `{name}` is also at {other}; the cluster has one of them");
            return Err(at(document, &text));
        }
        found.push((document, name));
    }
    Ok(found)
}

impl Group {
    /// The kind of a document's object, if it is imported.
    fn policy<'n>(&self, document: &'n Document) -> Result<Option<&'n str>, Error> {
        let text = |name: &str| document.root.text_of(name).unwrap_or_default();
        let (version, kind) = (text("apiVersion"), text("kind"));
        let is_policy = self.policies.contains(&kind);
        let Some(number) = version
            .strip_prefix(self.name)
            .and_then(|rest| rest.strip_prefix('/'))
        else {
            let text = format!(
                "`{version}` is not the `apiVersion` of a {kind} of `{}`",
                self.name
            );
            return match is_policy {
                true => Err(at(document, &text)),
                false => Ok(None),
            };
        };
        if !self.versions.contains(&number) {
            let versions = self.versions.join("`, `");
            let text = format!("`{version}` is an unknown version; there are `{versions}`");
            return Err(at(document, &text));
        }
        if !is_policy && !self.others.contains(&kind) {
            let kinds = [self.policies, self.others].concat().join("`, `");
            let text = format!(
                "`{kind}` is not a kind of `{}`; there are `{kinds}`",
                self.name
            );
            return Err(at(document, &text));
        }
        Ok(is_policy.then_some(kind))
    }
}

fn at(document: &Document, text: &str) -> Error {
    Error(format!("{}:{}: {text}", document.file, document.root.line))
}
