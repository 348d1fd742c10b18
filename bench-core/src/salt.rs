//! Salted prompts: each request's prompt begins with digits of its own, so that no cache of prefixes can serve it.
//!
//! The salt is a function of the request's seed, which is one for a block and a prompt and the same in every arm: pairs
//! stay equal, repetitions differ. Its shape never changes (four groups of three digits), so tokenizers that split digits
//! one by one or by threes make equally many tokens of every salt. Identity, category and hash of a prompt are those of
//! the preset. Invariant: the same seed gives the same salt.

use std::sync::Arc;

use async_trait::async_trait;

use crate::random::SplitMix64;
use crate::stack::{
    Ahead, CounterReading, EventStream, GenerateRequest, Prompt, Revival, Stack, StackError, StackInfo,
};

/// A stack that is asked salted prompts. Everything else goes through as it is.
pub struct Salted(Arc<dyn Stack>);

impl Salted {
    /// Salts what is asked of `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Stack>) -> Self {
        Self(inner)
    }
}

impl std::fmt::Debug for Salted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Salted").finish_non_exhaustive()
    }
}

#[async_trait]
impl Stack for Salted {
    async fn describe(&self) -> Result<StackInfo, StackError> {
        self.0.describe().await
    }

    async fn prepare(&self, ahead: Ahead) {
        self.0.prepare(ahead).await;
    }

    async fn generate(&self, mut request: GenerateRequest) -> Result<EventStream, StackError> {
        let salt = salt(request.sampling.seed);
        // In front of everything: whatever stands before the salt can still be found in a cache. A later turn of a
        // conversation gets a salt of its own, and so shares no prefix with the turn before.
        let text = match &mut request.prompt {
            Prompt::Text(text) | Prompt::Chat { system: Some(text), .. } => text,
            Prompt::Chat { history, user, .. } => {
                history.first_mut().map_or(user, |exchange| &mut exchange.user)
            }
        };
        text.insert_str(0, &salt);
        self.0.generate(request).await
    }

    async fn counters(&self) -> Result<CounterReading, StackError> {
        self.0.counters().await
    }

    async fn count_tokens(&self, text: &str) -> Result<Option<u32>, StackError> {
        self.0.count_tokens(text).await
    }

    async fn revive(&self, may_start: bool) -> Result<Revival, StackError> {
        self.0.revive(may_start).await
    }

    async fn shutdown(&self) -> Result<(), StackError> {
        self.0.shutdown().await
    }
}

/// `[402 117 993 038] `: 40 bits of the seed, enough that 10,000 requests share none but once in 20,000 runs.
#[must_use]
pub fn salt(seed: u64) -> String {
    let digits = SplitMix64::new(seed).next_u64() % 1_000_000_000_000;
    let group = |power: u32| digits / 1000_u64.pow(power) % 1000;
    format!("[{:03} {:03} {:03} {:03}] ", group(3), group(2), group(1), group(0))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::stack::Exchange;
    use crate::testing::{Script, ScriptedStack, generate_request};

    #[test]
    fn salts_differ_and_keep_their_shape() {
        let salts: BTreeSet<_> = (0..5000).map(salt).collect();
        assert_eq!(salts.len(), 5000);
        for salt in &salts {
            let groups: Vec<_> = salt.trim_matches(['[', ']', ' ']).split(' ').collect();
            assert_eq!((salt.len(), groups.len()), (18, 4), "{salt}");
            assert!(groups.iter().all(|group| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit())));
        }
        assert_eq!(salt(7), salt(7));
    }

    #[tokio::test]
    async fn the_salt_stands_before_everything() {
        let inner = Arc::new(ScriptedStack::new(vec![Script::steady(1, 1, 1)]));
        let salted = Salted::new(inner.clone());
        let said = |user: String| vec![Exchange { user, assistant: "answer".to_owned() }];
        let chat = |system: Option<&str>, history: Vec<Exchange>| Prompt::Chat {
            system: system.map(str::to_owned),
            history,
            user: "user".to_owned(),
        };
        let prompts = [
            Prompt::Text("text".to_owned()),
            chat(None, Vec::new()),
            chat(Some("system"), Vec::new()),
            chat(None, said("first".to_owned())),
        ];
        for prompt in prompts {
            let request = GenerateRequest { prompt, ..generate_request("") };
            drop(salted.generate(request).await.unwrap());
        }
        let salt = salt(generate_request("").sampling.seed);
        let sent: Vec<_> = inner.requests().into_iter().map(|(_, request)| request.prompt).collect();
        let salted_chat =
            |system: Option<String>, user: String| Prompt::Chat { system, history: Vec::new(), user };
        assert_eq!(
            sent,
            [
                Prompt::Text(format!("{salt}text")),
                salted_chat(None, format!("{salt}user")),
                salted_chat(Some(format!("{salt}system")), "user".to_owned()),
                chat(None, said(format!("{salt}first"))),
            ]
        );
    }
}
