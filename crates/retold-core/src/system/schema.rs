//! The schemas of the events of an application or a system.

use super::definition::System;
use crate::application::{Application, ApplicationBuilder};
use crate::mapping::{EventReader, TopicRegistry};
use crate::schema::{EventSchemas, FollowerOutline};

impl System {
    /// Describes the events of all applications, and which followers process which of them.
    ///
    /// The description contains the JSON Schemas of types that implement `schemars::JsonSchema`,
    /// with the feature `schema`. Keep it in a file and check it in a test:
    /// [`check_events_lock`](crate::testing::check_events_lock).
    ///
    /// ```
    /// use retold::prelude::*;
    ///
    /// // With the feature: `#[derive(…, JsonSchema)]` of `retold::schemars`.
    /// #[derive(Event, Serialize, Deserialize)]
    /// struct Ordered { item: String }
    ///
    /// let shop = System::new("shop")
    ///     .application("orders", |app| app.event::<Ordered>())
    ///     .build()?;
    /// let schema = shop.schema();
    /// assert_eq!(schema.topic("orders", "Ordered").unwrap().revision, 1);
    /// println!("{}", schema.to_lock());
    /// # Ok::<(), retold::Error>(())
    /// ```
    pub fn schema(&self) -> EventSchemas {
        let mut schemas = EventSchemas::new();
        for member in self.members() {
            let builder: ApplicationBuilder = member.builder();
            describe(
                member.name(),
                builder.declared_readers(),
                builder.registry(),
                &mut schemas,
            );
        }
        for member in self.members() {
            for follower in member.followers() {
                let mut outline = FollowerOutline::new(member.name(), follower.name());
                outline.upstreams = follower.upstreams().map(ToOwned::to_owned).collect();
                let topics = follower.policies().topics().iter();
                outline.topics = topics.map(ToString::to_string).collect();
                let readers = follower.policies().readers();
                schemas.add_follower(outline, readers.flat_map(|reader| reader.types()));
            }
        }
        schemas
    }
}

impl Application {
    /// Describes the declared events of the application; see [`System::schema`].
    pub fn schema(&self) -> EventSchemas {
        let mut schemas = EventSchemas::new();
        describe(
            self.name(),
            self.declared_readers(),
            self.registry(),
            &mut schemas,
        );
        schemas
    }
}

fn describe(
    application: &str,
    readers: &[EventReader],
    registry: &TopicRegistry,
    schemas: &mut EventSchemas,
) {
    schemas.add_application(application);
    for reader in readers {
        schemas.add_types(application, reader.types());
    }
    for topic in registry.retired_topics() {
        schemas.add_retired(application, topic);
    }
}
