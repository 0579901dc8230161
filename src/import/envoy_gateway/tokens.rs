//! What a token of a policy's provider is, now that each issuer has one provider.

use super::issued_by;
use crate::import::model::Provider;
use crate::import::predicate::{Claim, Predicate, Shape, Test, Text};

/// A provider of a policy.
pub(super) struct Token {
    /// Its name in the policy.
    name: String,
    issuer: String,
    audiences: Vec<String>,
    /// The name of claimgate's provider. `None` if that does not accept these tokens.
    provider: Option<String>,
}

/// The providers of a policy, in its order.
pub(super) struct Tokens(Vec<Token>);

impl Tokens {
    /// `providers` has names and positions; `own` has issuer and audiences as the policy says them, and `names`
    /// the name of claimgate's provider, by position.
    pub(super) fn of(
        providers: &[(String, usize)],
        own: &[(String, Vec<String>)],
        names: &[Option<String>],
    ) -> Self {
        let tokens = providers.iter().filter_map(|(name, index)| {
            let (issuer, audiences) = own.get(*index)?.clone();
            Some(Token {
                name: name.clone(),
                issuer,
                audiences,
                provider: names.get(*index).cloned().flatten(),
            })
        });
        Self(tokens.collect())
    }

    /// Whether tokens of this provider of claimgate are among them.
    pub(super) fn accepts(&self, provider: &str) -> bool {
        self.0
            .iter()
            .any(|token| token.provider.as_deref() == Some(provider))
    }

    /// The tokens among those that `accepted` accepts. `None` for all.
    pub(super) fn predicate(&self, accepted: &[Provider]) -> Option<Predicate> {
        let known = |token: &Token| {
            let mut accepted = accepted.iter();
            let name = token.provider.as_deref()?;
            accepted.find(|provider| provider.name == name)
        };
        let is_whole = |token: &Token| {
            known(token)
                .is_some_and(|it| token.audiences.is_empty() || it.audiences == token.audiences)
        };
        if self.0.iter().all(is_whole) {
            return None;
        }
        let tokens = self.0.iter().filter(|token| known(token).is_some());
        let tokens = tokens.map(|token| match is_whole(token) {
            true => issued_by(&token.issuer),
            false => token.predicate(),
        });
        Some(Predicate::any(tokens))
    }

    /// Whether the token is that of the provider with this name in the policy, and whether that is not known
    /// for certain. Envoy tries the providers in their order, and a token is that of the first that accepts it.
    pub(super) fn named(&self, name: &str) -> (Predicate, bool) {
        let Some(at) = self.0.iter().position(|token| token.name == name) else {
            return (Predicate::False, false);
        };
        let Some(token) = self.0.get(at) else {
            return (Predicate::False, false);
        };
        let is_same = |other: &&Token| other.issuer == token.issuer;
        let is_alone = self.0.iter().filter(is_same).count() == 1;
        match (is_alone, &token.provider) {
            (true, Some(_)) => (issued_by(&token.issuer), false),
            // No token of this issuer is accepted.
            (true, None) => (Predicate::False, false),
            (false, provider) => {
                let earlier = self.0.iter().take(at).filter(is_same);
                let earlier = Predicate::any(earlier.map(Token::predicate));
                let lower = match provider {
                    Some(_) => Predicate::all([token.predicate(), earlier.negated()]),
                    None => Predicate::False,
                };
                (Predicate::between(lower, issued_by(&token.issuer)), true)
            }
        }
    }
}

impl Token {
    fn predicate(&self) -> Predicate {
        let audience = match self.audiences.is_empty() {
            true => Predicate::True,
            false => Predicate::Test(Test::Claim(Claim {
                names: vec!["aud".to_owned()],
                values: self.audiences.iter().cloned().map(Text::Exact).collect(),
                shape: Shape::TextOrList,
            })),
        };
        Predicate::all([issued_by(&self.issuer), audience])
    }
}
