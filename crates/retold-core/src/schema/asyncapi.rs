//! The description as an AsyncAPI document: a channel for each log, a message for each topic, and
//! an operation for each application that records and each follower that receives.

use serde_json::{Map, Value, json};

use super::event_schemas::{EventSchemas, TopicSchemas};

/// The version of AsyncAPI.
const VERSION: &str = "3.0.0";
/// The format of the payloads' schemas.
const SCHEMA_FORMAT: &str = "application/schema+json;version=draft-2020-12";

impl EventSchemas {
    /// Returns an [AsyncAPI](https://www.asyncapi.com/docs/reference/specification/v3.0.0) document
    /// with this title and version of the program, as JSON.
    ///
    /// Each log is a channel. The operations say which application records in it and which
    /// followers process which of its events.
    pub fn to_asyncapi(&self, title: &str, version: &str) -> Value {
        let topics = || {
            self.topics
                .iter()
                .filter(|(_, shapes)| !shapes.shapes.is_empty())
        };
        let messages = topics().map(|(topic, shapes)| (topic.clone(), message(topic, shapes)));
        let mut channels = Map::new();
        let mut operations = Map::new();
        for (application, topics) in &self.applications {
            let references = topics
                .iter()
                .filter(|topic| self.topics.contains_key(*topic));
            let references = references.map(|topic| {
                let target = format!("#/components/messages/{}", escaped(topic));
                (topic.clone(), json!({ "$ref": target }))
            });
            let messages: Map<_, _> = references.collect();
            let of_channel = |topic: &String| message_of(application, topic);
            let sent: Vec<_> = messages.keys().map(of_channel).collect();
            let address = json!({"address": application, "messages": messages});
            channels.insert(application.clone(), address);
            operations.insert(
                format!("{application}.records"),
                operation("send", application, &sent, "records events in its log"),
            );
        }
        for follower in &self.followers {
            for upstream in &follower.upstreams {
                let followed = self.applications.get(upstream);
                let is_sent = |topic: &&String| followed.is_some_and(|it| it.contains(*topic));
                let received = follower.topics.iter().filter(is_sent);
                let received: Vec<_> = received.map(|topic| message_of(upstream, topic)).collect();
                let summary = format!("{:?} follows {upstream:?}", follower.application);
                operations.insert(
                    format!("{}.{}.{upstream}", follower.application, follower.name),
                    operation("receive", upstream, &received, &summary),
                );
            }
        }
        json!({
            "asyncapi": VERSION,
            "info": {"title": title, "version": version},
            "defaultContentType": "application/json",
            "channels": channels,
            "operations": operations,
            "components": {"messages": messages.collect::<Map<_, _>>()},
        })
    }
}

fn operation(action: &str, channel: &str, messages: &[Value], summary: &str) -> Value {
    let channel = format!("#/channels/{}", escaped(channel));
    json!({
        "action": action,
        "channel": {"$ref": channel},
        "summary": summary,
        "messages": messages,
    })
}

fn message_of(channel: &str, topic: &str) -> Value {
    let target = format!(
        "#/channels/{}/messages/{}",
        escaped(channel),
        escaped(topic)
    );
    json!({ "$ref": target })
}

fn message(topic: &str, shapes: &TopicSchemas) -> Value {
    let mut message = json!({"name": topic, "x-retold-revision": shapes.revision});
    if shapes.is_past {
        message["x-retold-past"] = true.into();
    }
    let present = shapes.shapes.get(&shapes.revision).cloned().flatten();
    if let Some(present) = present {
        let at = format!("#/components/messages/{}/payload/schema", escaped(topic));
        let mut schema = present.written;
        rebase(&mut schema, &at);
        message["payload"] = json!({"schemaFormat": SCHEMA_FORMAT, "schema": schema});
    }
    message
}

/// Makes references within a schema valid where it is placed in the document.
fn rebase(schema: &mut Value, at: &str) {
    match schema {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(target) if key == "$ref" => {
                        if let Some(rest) = target.strip_prefix('#') {
                            *target = format!("{at}{rest}");
                        }
                    }
                    value => rebase(value, at),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rebase(item, at)),
        _ => {}
    }
}

/// Returns a name as a part of a JSON pointer.
fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}
