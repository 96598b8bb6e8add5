//! Reads what is remembered, from our own file. What is damaged of it, or says what only another version
//! understands, is left out, and nothing else: one odd entry must not cost the lineage of every login, nor
//! the word that a token may be spent.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    GatewayMemory, GenerationRecord, LoginMemory, Memory, Moved, OpenFinding, Pending, TargetMemory,
};
use crate::base::fingerprint::Fingerprint;
use crate::base::id::{GatewayId, LoginId};
use crate::base::time::Timestamp;
use crate::core::clock::ClockMemory;
use crate::core::refresh::RefreshMemory;

/// A document, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// What it says. Of a damaged one `format_version` is 0, which no writer writes.
    pub memory: Memory,
    /// What of it could not be read; `None` for all of it that was understood.
    pub damage: Option<Damage>,
}

/// What of a document could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It is no document of ours.
    All {
        /// Where that shows, from 1.
        line: usize,
    },
    /// So many places of it.
    Parts(usize),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All { line } => {
                write!(f, "could not be parsed (line {line}), starting anew without a lineage")
            }
            Self::Parts(1) => f.write_str("could not be parsed in one place, which is left out"),
            Self::Parts(count) => write!(f, "could not be parsed in {count} places, which are left out"),
        }
    }
}

/// The document is of this later version: what that means by the rest is not ours to judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newer(pub u64);

impl Memory {
    /// Reads a document. A time in it that cannot be read, and is needed, is `now`.
    ///
    /// # Errors
    /// `Newer`.
    pub fn read(bytes: &[u8], now: Timestamp) -> Result<Read, Newer> {
        let object = || serde_json::from_slice::<Map<String, Value>>(bytes);
        let document = match object() {
            Ok(document) => document,
            Err(error) => {
                let damage = Some(Damage::All { line: error.line() });
                return Ok(Read { memory: Self::default(), damage });
            }
        };
        let version = document.get("format_version").and_then(Value::as_u64);
        if let Some(newer) = version.filter(|version| *version > u64::from(Self::VERSION)) {
            return Err(Newer(newer));
        }
        if let Ok(memory) = serde_json::from_value(document.into()) {
            return Ok(Read { memory, damage: None });
        }
        // Read once more: what is whole, as it is each minute, is not copied for what is not.
        let mut rest = object().map(Value::from).unwrap_or_default();
        let mut left_out = Left { count: 0, now };
        left_out.of_all(&mut rest);
        let memory = serde_json::from_value(rest).unwrap_or_default();
        Ok(Read { memory: Self { format_version: 0, ..memory }, damage: Some(Damage::Parts(left_out.count)) })
    }
}

/// How much was left out.
struct Left {
    count: usize,
    now: Timestamp,
}

impl Left {
    /// From the inside out: what holds something odd is as whole as it can be when it is judged itself.
    fn of_all(&mut self, document: &mut Value) {
        for login in entries(document, "logins") {
            self.of_list::<GenerationRecord>(login.get_mut("lineage"));
            self.of_list::<Timestamp>(login.pointer_mut("/refresh/requests"));
            self.of_members::<RefreshMemory>(login.get_mut("refresh"));
            self.of_move(login.get_mut("moved"));
            self.of_members::<LoginMemory>(Some(login));
        }
        entries(document, "targets").for_each(|target| self.of_members::<TargetMemory>(Some(target)));
        for gateway in entries(document, "gateways") {
            self.of_pending(gateway.get_mut("pending"));
            self.of_members::<GatewayMemory>(Some(gateway));
        }
        self.of_members::<BTreeMap<LoginId, LoginMemory>>(document.get_mut("logins"));
        self.of_members::<BTreeMap<String, TargetMemory>>(document.get_mut("targets"));
        self.of_members::<BTreeMap<GatewayId, GatewayMemory>>(document.get_mut("gateways"));
        self.of_members::<ClockMemory>(document.get_mut("clock"));
        self.of_list::<OpenFinding>(document.get_mut("findings"));
        self.of_list::<Fingerprint>(document.get_mut("imported"));
        self.of_members::<Memory>(Some(document));
    }

    /// Which token went to another host is known, whenever that was.
    fn of_move(&mut self, value: Option<&mut Value>) {
        let is_odd = |value: &&mut Value| serde_json::from_value::<Moved>((*value).clone()).is_err();
        let Some(Value::Object(members)) = value.filter(is_odd) else { return };
        if members.insert("at".to_owned(), Value::from(self.now.as_millis())).is_some() {
            self.keeps(false);
        }
    }

    /// A gateway has to follow, whatever is odd about it. What it takes is a restart where that is not known.
    fn of_pending(&mut self, value: Option<&mut Value>) {
        let is_odd = |value: &Value| serde_json::from_value::<Pending>(value.clone()).is_err();
        let Some(Value::Object(members)) = value.filter(|value| is_odd(value)) else { return };
        let needed = [("since", self.now.as_millis()), ("attempts", 0)];
        let needed: Map<_, _> =
            needed.map(|(name, number)| (name.to_owned(), number.into())).into_iter().collect();
        members.retain(|name, value| {
            let mut alone = needed.clone();
            alone.insert(name.clone(), value.clone());
            !is_odd(&alone.into())
        });
        for (name, number) in needed {
            members.entry(name).or_insert(number);
        }
        self.keeps(false);
    }

    /// Leaves out what makes an object unreadable as `T`, of which any member may be missing.
    fn of_members<T: DeserializeOwned>(&mut self, value: Option<&mut Value>) {
        let Some(Value::Object(members)) = value else { return };
        members.retain(|key, value| {
            let alone = Map::from_iter([(key.clone(), value.clone())]);
            self.keeps(serde_json::from_value::<T>(alone.into()).is_ok())
        });
    }

    /// Leaves out the entries of a list that are not readable as `T`.
    fn of_list<T: DeserializeOwned>(&mut self, value: Option<&mut Value>) {
        let Some(Value::Array(entries)) = value else { return };
        entries.retain(|entry| self.keeps(serde_json::from_value::<T>(entry.clone()).is_ok()));
    }

    const fn keeps(&mut self, is_readable: bool) -> bool {
        self.count = self.count.saturating_add(!is_readable as usize);
        is_readable
    }
}

/// The entries of a table of the document.
fn entries<'a>(document: &'a mut Value, table: &str) -> impl Iterator<Item = &'a mut Value> {
    let table = document.get_mut(table).and_then(Value::as_object_mut);
    table.into_iter().flat_map(|table| table.values_mut())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::model::Force;
    use crate::core::refresh::Stop;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn read(text: &str) -> Read {
        Memory::read(text.as_bytes(), NOW).unwrap()
    }

    #[test]
    fn one_odd_entry_costs_itself_alone() {
        let whole = r#"{"generation":"aa","access":"bb","refresh":"cc","expires_at":5,"seen_at":4}"#;
        let text = format!(
            r#"{{"format_version":1,"later":[],
                "logins":{{"claude":{{"lineage":[{{"generation":7}},{whole}],"cli":["x"],"rotations":3,
                    "refresh":{{"stopped":["unknown","cc"],"last_ended":"sung","failures":2}}}},
                  "-":{{}},"codex":7,"work":{{"account":"acct"}}}},
                "targets":{{"env":{{"writes":"many","generation":"aa"}}}},
                "gateways":{{"claw":{{"last_action":"sing","unit":1,"invocation":"ab"}}}},
                "findings":[{{"code":"SUNG","severity":"notice","subject":"x","summary":"y","since":1}},
                  {{"code":"HUSK","severity":"notice","subject":"x","summary":"y","since":1}}],
                "clock":{{"last":9,"asks_failed":-1}},"links":{{}},"imported":["aa",1]}}"#
        );
        let Read { memory, damage } = read(&text);
        assert_eq!((damage, memory.format_version), (Some(Damage::Parts(11)), 0));
        let id = |text: &str| LoginId::try_new(text).unwrap();
        assert_eq!(memory.logins.keys().cloned().collect::<Vec<_>>(), [id("claude"), id("work")]);
        let login = &memory.logins[&id("claude")];
        assert_eq!((login.lineage.len(), login.rotations, login.refresh.failures), (1, 3, 2));
        assert!(login.stop().is_some(), "that a token may be spent is not forgotten");
        assert_eq!(memory.logins[&id("work")].account.as_deref(), Some("acct"));
        assert!(memory.targets["env"].generation.is_some());
        assert_eq!(memory.gateways.values().next().unwrap().invocation.as_deref(), Some("ab"));
        assert_eq!((memory.findings.len(), memory.imported.len()), (1, 1));
        let again = read(&serde_json::to_string(&Memory { format_version: 1, ..memory.clone() }).unwrap());
        assert_eq!(again, Read { memory: Memory { format_version: 1, ..memory }, damage: None });
    }

    #[test]
    fn what_is_no_document_holds_nothing_and_a_later_one_is_not_judged() {
        for (text, line) in [("", 1), ("[]", 1), ("{\"logins\":\n{", 2), ("\u{1}", 1)] {
            assert_eq!(read(text).damage, Some(Damage::All { line }), "{text:?}");
            assert_eq!(read(text).memory, Memory::default());
        }
        for version in [2, u64::from(u32::MAX), u64::MAX] {
            let text = format!("{{\"format_version\":{version},\"logins\":7}}");
            assert_eq!(Memory::read(text.as_bytes(), NOW), Err(Newer(version)));
        }
        assert_eq!(read("{}").damage, None);
    }

    #[test]
    fn what_holds_a_refresh_back_is_kept_whatever_stands_beside_it() {
        let text = r#"{"format_version":1,"logins":{"claude":{
            "moved":{"refresh":"aa","at":"yesterday"},
            "refresh":{"stopped":["a word of a later version","cc"],"requests":[5,"x",7],"failures":"many"}}}}"#;
        let Read { memory, damage } = read(text);
        let login = memory.logins.values().next().unwrap();
        assert_eq!(login.moved.as_ref().map(|moved| moved.refresh.as_str()), Some("aa"));
        assert_eq!(login.refresh.stopped.as_ref().map(|(stop, _)| stop), Some(&Stop::Unknown));
        let requests: Vec<i64> = login.refresh.requests.iter().map(|at| at.as_millis()).collect();
        assert_eq!((requests, damage), (vec![5, 7], Some(Damage::Parts(3))));
    }

    #[test]
    fn a_gateway_that_has_to_follow_still_has_to_whatever_of_that_is_odd() {
        let pending = |text: &str| {
            let text = format!(
                r#"{{"format_version":1,"gateways":{{"claw":{{"unit":1,"pending":{text},"ready":true}}}}}}"#
            );
            let Read { memory, damage } = read(&text);
            let gateway = memory.gateways.values().next().unwrap().clone();
            assert_eq!(gateway.ready, Some(true), "{text}");
            (gateway.pending, damage)
        };
        let whole = r#"{"since":5,"token_ends":9,"attempts":2,"not_before":7,"force":"reload","busy":null}"#;
        let (known, damage) = pending(whole);
        let (known, at) = (known.unwrap(), Timestamp::from_millis);
        assert_eq!((known.since, known.attempts, known.not_before, damage), (at(5), 2, Some(at(7)), None));
        let odd = |from: &str, to: &str| whole.replace(from, to);
        for (odd, expected) in [
            (odd(":5", ":\"now\""), Pending { since: NOW, ..known.clone() }),
            (odd("\"since\":5,", ""), Pending { since: NOW, ..known.clone() }),
            (odd(":2", ":-2"), Pending { attempts: 0, ..known.clone() }),
            (odd(":7", ":[]"), Pending { not_before: None, ..known.clone() }),
            (
                odd(":9", ":{}").replace(":5", ":null"),
                Pending { token_ends: None, since: NOW, ..known.clone() },
            ),
            (odd("null", "{\"since\":5}"), known.clone()),
            (odd("reload", "sing"), Pending { force: Force::Restart, ..known.clone() }),
        ] {
            assert_eq!(pending(&odd), (Some(expected), Some(Damage::Parts(1))), "{odd}");
        }
        let (bare, _) = pending("{}");
        assert_eq!(bare.map(|bare| (bare.since, bare.force)), Some((NOW, Force::Restart)));
        assert_eq!(pending("7"), (None, Some(Damage::Parts(1))));
        assert_eq!(pending("null"), (None, None));
    }
}
