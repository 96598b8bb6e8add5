//! Calls on the bus with arguments of every type: what is not the method's own is an error and nothing else.

use tokensink::dbus::calls::{self, Call};
use tokensink::dbus::{NAME, PATH, Refusal};
use zbus::{Array, Dict, Message, ObjectPath, Signature, Structure, Variant};

const MEMBERS: [&str; 8] = ["Sync", "Status", "Refresh", "Get", "GetAll", "Set", "Ping", "Introspect"];

/// The first byte is how many arguments there are, the rest is what they are.
pub fn arguments(bytes: &[u8]) {
    let Some((count, mut rest)) = bytes.split_first() else { return };
    let mut structure = Structure::builder();
    for _ in 0..count % 5 {
        structure.push_value(value(&mut rest, 0));
    }
    let Ok(structure) = structure.build() else { return };
    if structure.signature().to_string().len() > 255 {
        return;
    }
    for member in MEMBERS {
        // What the bus itself does not carry never comes to us.
        let Ok(message) = Message::method_call(PATH, member).build(&structure) else { return };
        let signature = message.body().signature().to_string();
        let read = calls::read(&message);
        let is_fitting = match &read {
            Ok(Call::Refresh { login, .. }) => login.len() <= 4096 && ["sb", "(sb)"].contains(&&*signature),
            Ok(Call::Get(_)) => ["ss", "(ss)"].contains(&&*signature),
            Ok(Call::GetAll) => ["s", "(s)"].contains(&&*signature),
            Ok(Call::Sync | Call::Status | Call::Ping | Call::Introspect(_)) => message.body().is_empty(),
            Err(refusal) => {
                let own = [Refusal::InvalidArgs, Refusal::UnknownInterface, Refusal::UnknownProperty];
                own.contains(refusal) || (*refusal == Refusal::ReadOnly && member == "Set")
            }
        };
        assert!(is_fitting, "{member} {signature}: {read:?}");
    }
}

/// A value that the bytes describe, nearly as deep as the bus allows: `zbus` refuses to read what is deeper, and
/// panics where it built that itself.
fn value(rest: &mut &[u8], depth: usize) -> Variant<'static> {
    let mut next = || {
        let (first, behind) = rest.split_first().map_or((0, *rest), |(first, behind)| (*first, behind));
        *rest = behind;
        first
    };
    let (kind, argument) = (next(), next());
    let kind = if depth > 28 { kind % 9 } else { kind % 14 };
    let text = match argument % 6 {
        0 => String::new(),
        1 => NAME.to_owned(),
        2 => "Overall".to_owned(),
        3 => "claude".to_owned(),
        4 => "x".repeat(usize::from(argument) * 40),
        _ => format!("made-up \u{202e}{argument}\n"),
    };
    match kind {
        0 => Variant::from(argument),
        1 => Variant::from(argument % 2 == 0),
        2 => Variant::from(i16::from(argument)),
        3 => Variant::from(u32::from(argument)),
        4 => Variant::from(i64::MIN + i64::from(argument)),
        5 => Variant::from(f64::from(argument) / 0.0),
        6 => Variant::from(text),
        7 => Variant::from(ObjectPath::try_from("/made/up").unwrap()),
        8 => Variant::from(Signature::Str),
        9 => Variant::Variant(Box::new(value(rest, depth + 1))),
        10 | 11 => {
            let first = value(rest, depth + 1);
            let mut array = Array::new(first.value_signature());
            // As many as the bytes say, and not as many in each of them again.
            for _ in 0..if depth < 3 { argument % 4 } else { 1 } {
                let _ = array.append(first.try_clone().unwrap());
            }
            Variant::from(array)
        }
        12 => {
            let mut dict = Dict::new(&Signature::Str, &Signature::Variant);
            let _ = dict.append(Variant::from(text), Variant::Variant(Box::new(value(rest, depth + 1))));
            Variant::from(dict)
        }
        _ => {
            let mut structure = Structure::builder();
            for _ in 0..=argument % 3 {
                structure.push_value(value(rest, depth + 1));
            }
            structure.build().map_or(Variant::from(argument), Variant::from)
        }
    }
}
