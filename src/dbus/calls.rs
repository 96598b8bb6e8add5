//! What a message asks for: path, interface, member and arguments to one [`Call`]. Total: whatever is sent
//! is a call or a refusal, and nothing of it is repeated.

use std::collections::HashMap;

use zbus::{Message, Variant};

use super::{INTERFACE_XML, NAME, PATH, Properties, Refusal};

const PEER: &str = "org.freedesktop.DBus.Peer";
const INTROSPECTABLE: &str = "org.freedesktop.DBus.Introspectable";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The longest text that is taken or sent, in bytes: far above any id, far below what hurts.
const LONGEST: usize = 4096;

/// What every object has, as the specification words it.
const STANDARD: &str = r#"  <interface name="org.freedesktop.DBus.Peer">
    <method name="Ping"/>
  </interface>
  <interface name="org.freedesktop.DBus.Introspectable">
    <method name="Introspect">
      <arg name="xml_data" type="s" direction="out"/>
    </method>
  </interface>
  <interface name="org.freedesktop.DBus.Properties">
    <method name="Get">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="out"/>
    </method>
    <method name="GetAll">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="properties" type="a{sv}" direction="out"/>
    </method>
    <method name="Set">
      <arg name="interface_name" type="s" direction="in"/>
      <arg name="property_name" type="s" direction="in"/>
      <arg name="value" type="v" direction="in"/>
    </method>
    <signal name="PropertiesChanged">
      <arg name="interface_name" type="s"/>
      <arg name="changed_properties" type="a{sv}"/>
      <arg name="invalidated_properties" type="as"/>
    </signal>
  </interface>
</node>
"#;

/// A call that means something.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// Whether we are there.
    Ping,
    /// The description of an object, which is the answer.
    Introspect(String),
    /// One property.
    Get(&'static str),
    /// All of them.
    GetAll,
    /// A pass.
    Sync,
    /// A report.
    Status,
    /// A refresh.
    Refresh {
        /// Of which login; not checked yet, and bounded.
        login: String,
        /// Although it is not due.
        is_forced: bool,
    },
}

/// Reads a method call.
///
/// # Errors
/// What is wrong with it, in the bus's own words.
pub fn read(message: &Message) -> Result<Call, Refusal> {
    let header = message.header();
    let path = header.path().map_or("", |path| path.as_str());
    let member = header.member().map_or("", |member| member.as_str());
    let interface = header.interface().map(|interface| interface.as_str());
    let body = message.body();
    let plain = |call: Call| if body.is_empty() { Ok(call) } else { Err(Refusal::InvalidArgs) };
    // Without an interface the member alone decides, as the specification allows.
    let is_in = |name: &str| interface.is_none_or(|given| given == name);
    match member {
        "Ping" if is_in(PEER) => return plain(Call::Ping),
        "Introspect" if is_in(INTROSPECTABLE) => return plain(Call::Introspect(described(path)?)),
        _ => {}
    }
    if path != PATH {
        return Err(Refusal::UnknownObject);
    }
    let args = |_| Refusal::InvalidArgs;
    match member {
        "Sync" if is_in(NAME) => plain(Call::Sync),
        "Status" if is_in(NAME) => plain(Call::Status),
        "Refresh" if is_in(NAME) => {
            let (login, is_forced): (&str, bool) = body.deserialize().map_err(args)?;
            if login.len() > LONGEST {
                return Err(Refusal::InvalidArgs);
            }
            Ok(Call::Refresh { login: login.to_owned(), is_forced })
        }
        "Get" if is_in(PROPERTIES) => {
            let (interface, name): (&str, &str) = body.deserialize().map_err(args)?;
            known(interface)?;
            let property = ALL.into_iter().find(|property| *property == name);
            property.map(Call::Get).ok_or(Refusal::UnknownProperty)
        }
        "GetAll" if is_in(PROPERTIES) => {
            known(body.deserialize::<&str>().map_err(args)?)?;
            Ok(Call::GetAll)
        }
        "Set" if is_in(PROPERTIES) => Err(Refusal::ReadOnly),
        _ if interface.is_some_and(|i| ![PEER, INTROSPECTABLE, PROPERTIES, NAME].contains(&i)) => {
            Err(Refusal::UnknownInterface)
        }
        _ => Err(Refusal::UnknownMethod),
    }
}

/// An empty name means all interfaces.
fn known(interface: &str) -> Result<(), Refusal> {
    if interface.is_empty() || interface == NAME { Ok(()) } else { Err(Refusal::UnknownInterface) }
}

/// The description of an object, or of what leads to it.
fn described(path: &str) -> Result<String, Refusal> {
    if path == PATH {
        let own = INTERFACE_XML.trim_end().strip_suffix("</node>").unwrap_or_default();
        return Ok(format!("{own}{STANDARD}"));
    }
    let below = if path == "/" {
        Some(&PATH[1..])
    } else {
        PATH.strip_prefix(path).and_then(|p| p.strip_prefix('/'))
    };
    let child = below.and_then(|rest| rest.split('/').next()).ok_or(Refusal::UnknownObject)?;
    Ok(format!("<node>\n  <node name=\"{child}\"/>\n</node>\n"))
}

const ALL: [&str; 4] = ["Version", "Overall", "Headline", "Findings"];

/// A property by its name.
pub(super) fn value<'a>(properties: &'a Properties, name: &str) -> Variant<'a> {
    match name {
        "Version" => Variant::from(properties.version),
        "Overall" => Variant::from(properties.overall),
        "Headline" => Variant::from(properties.headline.as_str()),
        _ => Variant::from(properties.findings),
    }
}

/// Every property that differs from what it was; all of them when nothing was known before.
pub(super) fn changed<'a>(
    before: Option<&Properties>,
    now: &'a Properties,
) -> HashMap<&'static str, Variant<'a>> {
    let differs = |name: &&str| before.is_none_or(|before| value(before, name) != value(now, name));
    ALL.into_iter().filter(differs).map(|name| (name, value(now, name))).collect()
}

/// A text as D-Bus can carry it: without the zero byte, and of a length that fits.
pub(super) fn carried(text: &str) -> String {
    let mut safe = String::new();
    for c in text.chars().filter(|c| *c != '\0') {
        if safe.len() + c.len_utf8() > LONGEST {
            break;
        }
        safe.push(c);
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn call<B: serde::Serialize + zbus::DynamicType>(
        path: &str,
        interface: &str,
        member: &str,
        body: &B,
    ) -> Message {
        let builder = Message::method_call(path, member);
        let builder = if interface.is_empty() { builder } else { builder.interface(interface) };
        builder.build(body).unwrap()
    }

    #[test]
    fn calls_are_told_from_what_is_none() {
        let refresh = Call::Refresh { login: "work".into(), is_forced: true };
        assert_eq!(read(&call(PATH, NAME, "Refresh", &("work", true))), Ok(refresh));
        assert_eq!(read(&call(PATH, "", "Sync", &())), Ok(Call::Sync));
        assert_eq!(read(&call(PATH, PROPERTIES, "Get", &(NAME, "Overall"))), Ok(Call::Get("Overall")));
        assert_eq!(read(&call(PATH, PROPERTIES, "GetAll", &NAME)), Ok(Call::GetAll));
        assert_eq!(read(&call("/anywhere", PEER, "Ping", &())), Ok(Call::Ping));
        let long = "x".repeat(LONGEST + 1);
        for (message, expected) in [
            (call(PATH, NAME, "Refresh", &"work"), Refusal::InvalidArgs),
            (call(PATH, NAME, "Refresh", &("work", 1_u32)), Refusal::InvalidArgs),
            (call(PATH, NAME, "Refresh", &("work", true, true)), Refusal::InvalidArgs),
            (call(PATH, NAME, "Refresh", &(long, true)), Refusal::InvalidArgs),
            (call(PATH, NAME, "Sync", &"now"), Refusal::InvalidArgs),
            (call(PATH, NAME, "sync", &()), Refusal::UnknownMethod),
            (call(PATH, PEER, "Sync", &()), Refusal::UnknownMethod),
            (call(PATH, "org.example.Other", "Sync", &()), Refusal::UnknownInterface),
            (call("/org/tokensink", NAME, "Sync", &()), Refusal::UnknownObject),
            (call("/org/tokensink/Daemon1/x", INTROSPECTABLE, "Introspect", &()), Refusal::UnknownObject),
            (call("/org/token", INTROSPECTABLE, "Introspect", &()), Refusal::UnknownObject),
            (call(PATH, PROPERTIES, "Get", &(NAME, "Token")), Refusal::UnknownProperty),
            (call(PATH, PROPERTIES, "Get", &("org.example.Other", "Overall")), Refusal::UnknownInterface),
            (call(PATH, PROPERTIES, "Set", &(NAME, "Overall", Variant::from("ok"))), Refusal::ReadOnly),
        ] {
            assert_eq!(read(&message), Err(expected), "{message:?}");
        }
    }

    #[test]
    fn the_object_is_found_from_the_root_on() {
        for (path, child) in [("/", "org"), ("/org", "tokensink"), ("/org/tokensink", "Daemon1")] {
            assert!(described(path).unwrap().contains(&format!("<node name=\"{child}\"/>")), "{path}");
        }
        let own = described(PATH).unwrap();
        let document = roxmltree::Document::parse_with_options(
            &own,
            roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() },
        );
        let document = document.unwrap();
        let names = |kind: &str| -> Vec<String> {
            let interface = document.descendants().find(|n| n.attribute("name") == Some(NAME)).unwrap();
            let found = interface.children().filter(|n| n.has_tag_name(kind));
            found.map(|n| n.attribute("name").unwrap().to_owned()).collect()
        };
        assert_eq!(names("property"), ALL);
        let properties = Properties { version: "1", ..Properties::default() };
        for node in document.descendants().filter(|n| n.has_tag_name("property")) {
            let value = value(&properties, node.attribute("name").unwrap());
            assert_eq!(Some(value.value_signature().to_string().as_str()), node.attribute("type"));
        }
        // Every method that is described is answered.
        for method in names("method") {
            assert_ne!(read(&call(PATH, NAME, &method, &())), Err(Refusal::UnknownMethod), "{method}");
        }
    }

    #[test]
    fn only_what_differs_is_told_as_changed() {
        let before = Properties { headline: "a".into(), ..Properties::default() };
        let now = Properties { headline: "b".into(), ..Properties::default() };
        assert_eq!(changed(Some(&before), &now).into_keys().collect::<Vec<_>>(), ["Headline"]);
        assert!(changed(Some(&now), &now).is_empty());
        assert_eq!(changed(None, &now).len(), 4);
    }

    proptest! {
        #[test]
        fn any_text_can_be_carried(text in any::<String>()) {
            let carried = carried(&text.repeat(3));
            prop_assert!(carried.len() <= LONGEST && !carried.contains('\0'));
            prop_assert!(Message::signal(PATH, NAME, "Any").build(&carried).is_ok());
        }

        #[test]
        fn no_arguments_are_too_odd(text in any::<String>(), number in any::<u64>(), bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let text = text.replace('\0', "");
            for member in ["Refresh", "Get", "GetAll", "Set", "Sync", "Introspect"] {
                let _ = read(&call(PATH, "", member, &(text.as_str(), number)));
                let _ = read(&call(PATH, "", member, &bytes));
                let _ = read(&call(PATH, "", member, &(Variant::from(text.as_str()), bytes.clone())));
            }
        }
    }
}
