//! The two sessions against each other under every interleaving that proptest finds: messages are delayed,
//! answers get lost, streams break, content is refused; in the end the client equals the cache.

use std::collections::VecDeque;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::session::client::ClientSession;

#[derive(Debug, Clone)]
enum Step {
    Break,
    DeliverRequest,
    DeliverResponse,
    LoseAnswer,
    Reconnect,
    RemovePair(u8),
    SetBad(u8),
    SetPair(u8, u8),
    Subscribe(u8),
    Unsubscribe(u8),
    Wildcard(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..4u8;
    let step = prop_oneof![
        1 => Just(Step::Break),
        12 => Just(Step::DeliverRequest),
        12 => Just(Step::DeliverResponse),
        1 => Just(Step::LoseAnswer),
        2 => Just(Step::Reconnect),
        3 => name.clone().prop_map(Step::RemovePair),
        2 => name.clone().prop_map(Step::SetBad),
        6 => (name.clone(), 0..3u8).prop_map(|(name, content)| Step::SetPair(name, content)),
        2 => name.clone().prop_map(Step::Subscribe),
        2 => name.prop_map(Step::Unsubscribe),
        2 => any::<bool>().prop_map(Step::Wildcard),
    ];
    prop::collection::vec(step, 1..120)
}

/// One client, one cache, the wire between them.
struct World {
    stream: Stream,
    connected: bool,
    client: ClientSession,
    holds: BTreeMap<(String, String), String>,
    to_server: VecDeque<DeltaDiscoveryRequest>,
    to_client: VecDeque<DeltaDiscoveryResponse>,
    refused: BTreeMap<(String, String), Version>,
    wildcard: bool,
    names: BTreeSet<String>,
}

impl World {
    fn new() -> Self {
        let types = Types::new([A.into(), B.into()]);
        let mut client = ClientSession::new(types, Node::with_features("n", "c", []));
        client.subscribe_all(&A.into());
        client.subscribe_all(&B.into());
        Self {
            stream: Stream::new([]),
            connected: false,
            client,
            holds: BTreeMap::new(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            refused: BTreeMap::new(),
            wildcard: true,
            names: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Break => self.disconnect(),
            Step::DeliverRequest => _ = self.deliver_request(),
            Step::DeliverResponse => _ = self.deliver_response(),
            Step::LoseAnswer => self.lose_answer(),
            Step::Reconnect => self.connect(),
            Step::RemovePair(n) => {
                self.stream.apply([unset(A, &format!("r{n}")), unset(B, &format!("r{n}"))]);
            }
            Step::SetBad(n) => self.stream.apply([set(B, &format!("r{n}"), "bad")]),
            Step::SetPair(n, content) => {
                let (name, text) = (format!("r{n}"), content.to_string());
                self.stream.apply([set(B, &name, &text), set(A, &name, &text)]);
            }
            Step::Subscribe(n) => self.subscribe(&format!("r{n}")),
            Step::Unsubscribe(n) => self.unsubscribe(&format!("r{n}")),
            Step::Wildcard(on) => self.set_wildcard(on),
        }
    }

    // Type B alone changes its subscription; A stays a wildcard, so that references can be checked.
    fn subscribe(&mut self, name: &str) {
        self.names.insert(name.to_owned());
        let request = self.client.subscribe(&B.into(), [name]);
        self.to_server.extend(request);
    }

    fn unsubscribe(&mut self, name: &str) {
        self.names.remove(name);
        let request = self.client.unsubscribe(&B.into(), [name]);
        self.to_server.extend(request);
        self.forget_uncovered();
    }

    fn set_wildcard(&mut self, on: bool) {
        self.wildcard = on;
        let b = TypeUrl::from(B);
        let request = if on { self.client.subscribe_all(&b) } else { self.client.unsubscribe(&b, ["*"]) };
        self.to_server.extend(request);
        self.forget_uncovered();
    }

    fn forget_uncovered(&mut self) {
        let (wildcard, names) = (self.wildcard, &self.names);
        self.holds.retain(|(t, name), _| t == A || wildcard || names.contains(name));
        // What the client asks for anew it is told anew.
        self.refused.retain(|(t, name), _| t == A || wildcard || names.contains(name));
    }

    fn disconnect(&mut self) {
        self.connected = false;
        self.client.close();
        self.to_server.clear();
        self.to_client.clear();
    }

    fn connect(&mut self) {
        self.disconnect();
        let types = Types::new([A.into(), B.into()]);
        self.stream.session = ServerSession::new(types, Scope::default(), Limits::default(), None);
        self.refused.clear();
        self.to_server.extend(self.client.open());
        self.connected = true;
    }

    fn deliver_request(&mut self) -> bool {
        let request = self.to_server.pop_front();
        let moved = request.is_some();
        if let Some(request) = request {
            self.stream.ask(request);
        }
        self.pull();
        moved
    }

    fn pull(&mut self) {
        if !self.connected {
            return;
        }
        while let Some(response) = self.stream.next() {
            self.to_client.push_back(response);
        }
        assert!(self.to_client.len() <= 1, "more than one response is under way");
    }

    fn deliver_response(&mut self) -> bool {
        let Some(response) = self.to_client.pop_front() else { return false };
        for resource in &response.resources {
            let key = (response.type_url.clone(), resource.name.clone());
            let refused = self.refused.remove(&key);
            assert_ne!(refused, Some(Version::from(&*resource.version)), "{key:?} is sent again unchanged");
        }
        for name in &response.removed_resources {
            self.refused.remove(&(response.type_url.clone(), name.clone()));
        }
        let decode = |_: &TypeUrl, _: &str, body: &Bytes| match &**body {
            b"bad" => Err("it is bad".to_owned()),
            _ => Ok(String::from_utf8_lossy(body).into_owned()),
        };
        let (update, answer) = self.client.response(response, decode);
        let type_url = update.type_url.to_string();
        for (name, _, text) in update.set {
            self.holds.insert((type_url.clone(), name.to_string()), text);
        }
        for name in update.removed {
            let held = self.holds.remove(&(type_url.clone(), name.to_string()));
            assert!(held.is_some(), "{name} was removed but not held");
        }
        for rejected in update.rejected {
            self.refused.insert((type_url.clone(), rejected.name.to_string()), rejected.version);
        }
        self.to_server.push_back(answer);
        true
    }

    fn lose_answer(&mut self) {
        let answer = self.to_server.iter().position(|request| !request.response_nonce.is_empty());
        let Some(answer) = answer.and_then(|at| self.to_server.get_mut(at)) else { return };
        answer.response_nonce = "lost".to_owned();
        self.refused.clear(); // the server cannot know what a lost answer refused
    }

    /// Whether everything of type B refers to something of type A that is held.
    fn references_resolve(&self) -> bool {
        let of_b = self.holds.keys().filter(|(type_url, _)| type_url == B);
        of_b.map(|(_, name)| (A.to_owned(), name.clone())).all(|key| self.holds.contains_key(&key))
    }

    /// No more losses; good content everywhere; everything in flight arrives.
    fn heal(&mut self) {
        if !self.connected {
            self.connect();
        }
        for n in 0..4 {
            let key = Key::new(B.into(), format!("r{n}"));
            if self.stream.cache.snapshot().lookup(&key.type_url, &key.name).is_some() {
                self.stream.apply([set(B, &key.name, "good"), set(A, &key.name, "good")]);
            }
        }
        for _ in 0..3 {
            while self.deliver_request() || self.deliver_response() {}
            self.stream.now += Duration::from_secs(400);
            self.stream.session.expire(self.stream.now);
            self.stream.session.expire(self.stream.now);
            self.pull();
        }
    }

    fn offered(&self) -> BTreeMap<(String, String), String> {
        let snapshot = self.stream.cache.snapshot();
        let mut all = BTreeMap::new();
        for type_url in [A, B] {
            for (name, entry) in snapshot.iter(&type_url.into()) {
                if type_url == A || self.wildcard || self.names.contains(&**name) {
                    let body = entry.for_features(&BTreeSet::new()).body();
                    let text = String::from_utf8_lossy(body).into_owned();
                    all.insert((type_url.to_owned(), name.to_string()), text);
                }
            }
        }
        all
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x5EED),
        ..ProptestConfig::with_cases(300)
    })]

    #[test]
    fn after_the_last_change_and_the_heal_the_client_equals_the_cache(steps in steps()) {
        let mut world = World::new();
        world.connect();
        steps.into_iter().for_each(|step| world.step(step));
        world.heal();
        prop_assert_eq!(&world.holds, &world.offered());
        let held = [A, B].map(|t| world.client.held(&t.into()).count()).iter().sum::<usize>();
        prop_assert_eq!(held, world.holds.len());
        prop_assert!(world.client.is_synced());
        prop_assert_eq!(world.client.rejected().count(), 0);
    }

    #[test]
    fn a_client_never_holds_what_refers_to_something_it_does_not_hold(steps in steps()) {
        let mut world = World::new();
        world.connect();
        for step in steps {
            if matches!(step, Step::SetBad(_)) {
                continue; // sets B alone: the reference is dangling in the cache already
            }
            world.step(step);
            prop_assert!(world.references_resolve(), "{:?}", world.holds);
        }
    }
}
