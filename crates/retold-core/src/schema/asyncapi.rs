//! The description as an AsyncAPI document: a channel for each log, a message for each topic, and
//! an operation for each application that records and each follower that receives.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::event_schemas::{EventSchemas, TopicSchemas};
use super::shape::is_of_definitions;

/// The version of AsyncAPI.
const VERSION: &str = "3.0.0";
/// The format of the payloads' schemas: the newest that every tool must know.
const SCHEMA_FORMAT: &str = "application/schema+json;version=draft-07";

impl EventSchemas {
    /// Returns an [AsyncAPI](https://www.asyncapi.com/docs/reference/specification/v3.0.0) document
    /// with this title and version of the program, as JSON.
    ///
    /// Each log is a channel. The operations say which application records in it and which
    /// followers process which of its events. The keys are the names, as far as AsyncAPI allows
    /// them as keys. The schemas are converted to draft 7 of JSON Schema.
    pub fn to_asyncapi(&self, title: &str, version: &str) -> Value {
        let mut messages = Map::new();
        let mut channels = Map::new();
        let mut operations = Map::new();
        let channel_keys = DocumentKeys::of(self.applications.keys().cloned());
        let message_keys = self.message_keys();
        for (application, topics) in &self.applications {
            let channel = channel_keys.of_name(application);
            let mut references = Map::new();
            let mut sent = Vec::new();
            for (topic, shapes) in topics.iter().filter(|(_, it)| !it.shapes.is_empty()) {
                let name = self.message_name(application, topic);
                let key = message_keys.of_name(&name);
                messages.insert(key.to_owned(), message(key, topic, shapes));
                let target = format!("#/components/messages/{key}");
                references.insert(key.to_owned(), json!({ "$ref": target }));
                // An application does not record past events any more.
                if !shapes.is_past && !shapes.is_retired {
                    sent.push(message_of(channel, key));
                }
            }
            let content = json!({"address": application, "messages": references});
            channels.insert(channel.to_owned(), content);
            let content = operation("send", channel, &sent, "records events in its log");
            operations.insert(format!("{channel}.records"), content);
        }
        self.add_receiving(&channel_keys, &message_keys, &mut operations);
        json!({
            "asyncapi": VERSION,
            "info": {"title": title, "version": version},
            "defaultContentType": "application/json",
            "channels": channels,
            "operations": operations,
            "components": {"messages": messages},
        })
    }

    fn add_receiving(
        &self,
        channels: &DocumentKeys,
        messages: &DocumentKeys,
        operations: &mut Map<String, Value>,
    ) {
        for follower in &self.followers {
            for upstream in &follower.upstreams {
                let Some(topics) = self.applications.get(upstream) else {
                    continue;
                };
                let channel = channels.of_name(upstream);
                let is_received = |(topic, shapes): &(&String, &TopicSchemas)| {
                    !shapes.shapes.is_empty() && follower.topics.contains(*topic)
                };
                let received: Vec<_> = topics
                    .iter()
                    .filter(is_received)
                    .map(|(topic, _)| {
                        let name = self.message_name(upstream, topic);
                        message_of(channel, messages.of_name(&name))
                    })
                    .collect();
                let summary = format!("{:?} follows {upstream:?}", follower.application);
                let content = operation("receive", channel, &received, &summary);
                let name = format!("{}.{}.{upstream}", follower.application, follower.name);
                let taken: BTreeSet<_> = operations.keys().cloned().collect();
                operations.insert(free_key(&name, &taken), content);
            }
        }
    }

    fn message_keys(&self) -> DocumentKeys {
        let topics = self.applications.iter().flat_map(|(application, topics)| {
            let name = |topic: &String| self.message_name(application, topic);
            topics.keys().map(name).collect::<BTreeSet<_>>()
        });
        DocumentKeys::of(topics)
    }

    /// Returns the name of a message: the topic, unless other applications have other events of
    /// this topic.
    fn message_name(&self, application: &str, topic: &str) -> String {
        let mut all = self
            .applications
            .values()
            .filter_map(|topics| topics.get(topic));
        let first = all.next();
        match all.all(|other| Some(other) == first) {
            true => topic.to_owned(),
            false => format!("{application}.{topic}"),
        }
    }
}

/// The keys of a part of the document, by the names that they stand for.
struct DocumentKeys(BTreeMap<String, String>);

impl DocumentKeys {
    fn of(names: impl Iterator<Item = String>) -> Self {
        let names: BTreeSet<_> = names.collect();
        // Names that are valid as they are have precedence.
        let (valid, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|it| is_key(it));
        let mut taken: BTreeSet<_> = valid.iter().cloned().collect();
        let mut keys: BTreeMap<_, _> = valid.into_iter().map(|it| (it.clone(), it)).collect();
        for name in others {
            let key = free_key(&name, &taken);
            taken.insert(key.clone());
            keys.insert(name, key);
        }
        Self(keys)
    }

    fn of_name<'k>(&'k self, name: &'k str) -> &'k str {
        self.0.get(name).map_or(name, String::as_str)
    }
}

/// Returns a key for a name, which is not taken.
fn free_key(name: &str, taken: &BTreeSet<String>) -> String {
    let valid = |it: char| if is_key_char(it) { it } else { '-' };
    let key: String = name.chars().map(valid).collect();
    let mut numbered = (2..).map(|number: u32| format!("{key}-{number}"));
    let is_free = |it: &String| !taken.contains(it);
    match is_free(&key) {
        true => key,
        false => numbered.find(is_free).unwrap_or(key),
    }
}

/// Returns whether a name is valid as the key of a component.
fn is_key(name: &str) -> bool {
    !name.is_empty() && name.chars().all(is_key_char)
}

fn is_key_char(it: char) -> bool {
    it.is_ascii_alphanumeric() || matches!(it, '.' | '-' | '_')
}

fn operation(action: &str, channel: &str, messages: &[Value], summary: &str) -> Value {
    json!({
        "action": action,
        "channel": {"$ref": format!("#/channels/{channel}")},
        "summary": summary,
        "messages": messages,
    })
}

fn message_of(channel: &str, key: &str) -> Value {
    json!({ "$ref": format!("#/channels/{channel}/messages/{key}") })
}

fn message(key: &str, topic: &str, shapes: &TopicSchemas) -> Value {
    let mut message = json!({"name": topic, "x-retold-revision": shapes.revision});
    if shapes.is_past {
        message["x-retold-past"] = true.into();
    }
    if shapes.is_retired {
        message["x-retold-retired"] = true.into();
    }
    let present = shapes.shapes.get(&shapes.revision).and_then(Option::as_ref);
    if let Some(present) = present {
        let at = format!("#/components/messages/{key}/payload/schema");
        let schema = draft_7(&present.written, &at);
        message["payload"] = json!({"schemaFormat": SCHEMA_FORMAT, "schema": schema});
    }
    message
}

/// Converts a schema to draft 7, with references that are valid where it is placed in the document.
fn draft_7(schema: &Value, at: &str) -> Value {
    let Value::Object(fields) = schema else {
        return schema.clone();
    };
    let mut kept = Map::new();
    for (key, value) in fields {
        let (key, value) = match (key.as_str(), value) {
            ("$schema" | "$id" | "$anchor", _) => continue,
            ("const" | "enum" | "default" | "examples", value) => (key.as_str(), value.clone()),
            ("$ref", Value::String(target)) => {
                let target = match target.strip_prefix('#') {
                    Some(rest) => format!("{at}{rest}"),
                    None => target.clone(),
                };
                ("$ref", target.into())
            }
            ("prefixItems", Value::Array(items)) => {
                ("items", items.iter().map(|it| draft_7(it, at)).collect())
            }
            ("items", value) if fields.contains_key("prefixItems") => {
                ("additionalItems", draft_7(value, at))
            }
            (key, Value::Object(schemas))
                if is_of_definitions(key)
                    || matches!(key, "properties" | "patternProperties" | "dependentSchemas") =>
            {
                let converted = |(name, it): (&String, &Value)| (name.clone(), draft_7(it, at));
                (key, Value::Object(schemas.iter().map(converted).collect()))
            }
            (key, Value::Array(items)) => (key, items.iter().map(|it| draft_7(it, at)).collect()),
            (key, value) => (key, draft_7(value, at)),
        };
        kept.insert(key.to_owned(), value);
    }
    // In draft 7, keywords next to a reference are ignored.
    let is_beside = |key: &String| *key != "$ref" && !is_of_definitions(key);
    if kept.contains_key("$ref") && kept.keys().any(is_beside) {
        let reference = kept.remove("$ref");
        let mut all = reference
            .map(|it| json!([{ "$ref": it }]))
            .unwrap_or_default();
        if let (Value::Array(all), Some(Value::Array(more))) = (&mut all, kept.remove("allOf")) {
            all.extend(more);
        }
        kept.insert("allOf".to_owned(), all);
    }
    Value::Object(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(applications: Value, followers: Value) -> Value {
        let file = json!({
            "retold_events": 1,
            "applications": applications,
            "followers": followers
        });
        let schemas = EventSchemas::from_lock(file.to_string().as_bytes()).unwrap();
        schemas.to_asyncapi("t", "1")
    }

    fn topic(schema: &Value) -> Value {
        json!({"revision": 1, "shapes": {"1": {"schema": schema}}})
    }

    /// Checks that every reference leads somewhere, as a pointer in a fragment.
    fn check_references(value: &Value, document: &Value) {
        if let Some(target) = value.get("$ref").and_then(Value::as_str) {
            assert!(
                super::super::shape::target(target, document).is_some(),
                "{target}"
            );
        }
        match value {
            Value::Object(fields) => fields
                .values()
                .for_each(|it| check_references(it, document)),
            Value::Array(items) => items.iter().for_each(|it| check_references(it, document)),
            _ => {}
        }
    }

    #[test]
    fn any_names_become_distinct_valid_keys() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$ref": "#/$defs/a%20b~1c",
            "$defs": {"a b/c": {"type": "object", "properties": {"self": {"$ref": "#"}}}}
        });
        let names = ["a/b", "a b", "a-b", "a~b", "ä", "%41"];
        let topics: Map<_, _> = names
            .iter()
            .map(|it| ((*it).to_owned(), topic(&schema)))
            .collect();
        let applications: Map<_, _> = names
            .iter()
            .map(|it| ((*it).to_owned(), topics.clone().into()))
            .collect();
        let follower = |name: &str| {
            json!({
                "application": "a", "name": name, "follows": ["a/b", "a b"], "topics": names
            })
        };
        let document = document(applications.into(), json!([follower("b"), follower("b c")]));
        check_references(&document, &document);
        assert!(!document.to_string().contains("2020-12"), "{document}");
        let keys = |pointer: &str| {
            let part = document.pointer(pointer).unwrap().as_object().unwrap();
            part.keys().cloned().collect::<Vec<_>>()
        };
        let counts = [
            ("/channels", 6),
            ("/components/messages", 6),
            ("/operations", 10),
        ];
        for (pointer, count) in counts {
            assert_eq!(keys(pointer).len(), count, "{:?}", keys(pointer));
            assert!(
                keys(pointer).iter().all(|it| is_key(it)),
                "{:?}",
                keys(pointer)
            );
        }
        assert_eq!(document["channels"]["a-b"]["address"], "a-b");
        assert_eq!(document["channels"]["a-b-2"]["address"], "a b");
    }

    #[test]
    fn an_operation_never_overwrites_another() {
        let one = json!({"A": topic(&json!({}))});
        let applications = json!({"a.b": one, "records": one, "a": {}});
        let follower = json!({
            "application": "a", "name": "b", "follows": ["records"], "topics": ["A"]
        });
        let document = document(applications, json!([follower]));
        assert_eq!(document["operations"]["a.b.records"]["action"], "send");
        assert_eq!(document["operations"]["a.b.records-2"]["action"], "receive");
    }

    #[test]
    fn events_of_one_topic_in_two_logs_are_two_messages_if_they_differ() {
        let (text, number) = (
            topic(&json!({"type": "string"})),
            topic(&json!({"type": "null"})),
        );
        let applications = json!({
            "a": {"A": text, "B": text}, "b": {"A": number, "B": text}
        });
        let document = document(applications, json!([]));
        let messages = document["components"]["messages"].as_object().unwrap();
        assert_eq!(messages.keys().collect::<Vec<_>>(), ["B", "a.A", "b.A"]);
        assert_eq!(messages["a.A"]["name"], "A");
    }

    #[test]
    fn schemas_are_those_of_draft_7() {
        let schema = json!({
            "type": "array",
            "prefixItems": [{"$ref": "#/$defs/A", "minLength": 1}],
            "items": false,
            "const": {"$ref": "#"},
            "$defs": {"A": {"type": "string"}}
        });
        let expected = json!({
            "type": "array",
            "items": [{"allOf": [{"$ref": "#/x/$defs/A"}], "minLength": 1}],
            "additionalItems": false,
            "const": {"$ref": "#"},
            "$defs": {"A": {"type": "string"}}
        });
        assert_eq!(draft_7(&schema, "#/x"), expected);
    }
}
