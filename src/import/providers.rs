//! Providers of several policies as those of one configuration: claimgate has one provider for each issuer,
//! and sets the same headers for all.

use super::envoy::provider::EnvoyProvider;
use super::envoy::upstream;
use super::model::{Kind, Model, Note, Place, unique};

/// Adds the providers, and what the upstream receives, to the model. For each provider of the source, the result
/// is the name of the one that stands for it, or `None` if its tokens are refused.
pub fn merge(model: &mut Model, providers: Vec<(EnvoyProvider, Place)>) -> Vec<Option<String>> {
    let (providers, places): (Vec<EnvoyProvider>, Vec<Place>) = providers.into_iter().unzip();
    model.upstream = upstream(&providers);
    let places = places.iter();
    providers
        .into_iter()
        .zip(places)
        .map(|(provider, place)| add(model, provider, place))
        .collect()
}

fn add(model: &mut Model, provider: EnvoyProvider, place: &Place) -> Option<String> {
    let mut new = provider.model;
    let names = model.providers.iter().map(|known| known.name.as_str());
    let name = unique(&new.name, names);
    let same = model
        .providers
        .iter_mut()
        .find(|known| known.issuer == new.issuer);
    let Some(known) = same else {
        new.name.clone_from(&name);
        model.providers.push(new);
        return Some(name);
    };
    if known.keys != new.keys || known.token_from != new.token_from {
        let text = format!(
            "its tokens are refused, because the provider `{}` has the same issuer with other keys or in other \
             places, and claimgate has one provider for each issuer",
            known.name
        );
        known.notes.push(note(Kind::LeftOut, place, &text));
        return None;
    }
    match known.audiences.is_empty() || new.audiences.is_empty() {
        true => known.audiences.clear(),
        false => {
            new.audiences
                .retain(|audience| !known.audiences.contains(audience));
            known.audiences.extend(new.audiences);
        }
    }
    // One time limit serves both.
    known.timeout = known.timeout.max(new.timeout);
    known.refresh = known
        .refresh
        .min(new.refresh)
        .or(known.refresh)
        .or(new.refresh);
    new.notes.retain(|note| !known.notes.contains(note));
    known.notes.extend(new.notes);
    Some(known.name.clone())
}

fn note(kind: Kind, place: &Place, text: &str) -> Note {
    Note {
        kind,
        place: place.clone(),
        text: text.to_owned(),
    }
}
