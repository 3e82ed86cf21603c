//! Lists the aggregates of a type.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::error::{Error, Result};
use super::handle::Application;
use super::limits::AGGREGATES_PAGE;
use crate::domain::{Aggregate, Id};

impl Application {
    /// Lists the ids of the aggregates of a type, ordered by the bytes of their stream names.
    ///
    /// ```
    #[doc = include_str!("../../doc/school.rs.txt")]
    /// let dogs: Vec<Id<Dog>> = school.aggregates().collect().await?;
    /// assert_eq!(dogs, [fido]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn aggregates<A: Aggregate>(&self) -> AggregateIds<A> {
        AggregateIds {
            application: self.clone(),
            after: None,
            page_size: AGGREGATES_PAGE,
            aggregate: PhantomData,
        }
    }
}

/// The ids of the aggregates of a type, page by page. Aggregates created in the meantime are
/// included if they sort after the current page.
pub struct AggregateIds<A> {
    application: Application,
    after: Option<Arc<str>>,
    page_size: usize,
    aggregate: PhantomData<fn() -> A>,
}

impl<A: Aggregate> AggregateIds<A> {
    /// Starts after this id: use it to continue where an earlier reading ended.
    #[must_use]
    pub fn after(mut self, id: &Id<A>) -> Self {
        self.after = Some(id.stream().into());
        self
    }

    /// Sets the maximum number of ids per page; [`AGGREGATES_PAGE`] by default.
    #[must_use]
    pub fn page_size(mut self, aggregates: usize) -> Self {
        self.page_size = aggregates;
        self
    }

    /// Returns the next page, or `None` at the end. A page may be empty if all its aggregates are
    /// deleted.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a page size of 0, or if a stream of the type has a name that is not a
    /// key of the type; [`Error::Registry`], [`Error::Unavailable`], [`Error::Corrupt`].
    pub async fn next_page(&mut self) -> Result<Option<Vec<Id<A>>>> {
        self.application.register::<A>()?;
        let prefix = format!("{}/", A::TYPE);
        let recorder = self.application.recorder();
        let page = recorder
            .streams(&prefix, self.after.as_deref(), self.page_size)
            .await?;
        let Some(last) = page.last() else {
            return Ok(None);
        };
        let alive = page.iter().filter(|entry| !entry.is_deleted);
        let ids = alive.map(|entry| id_of(&entry.name));
        let ids = ids.collect::<Result<_>>()?;
        self.after = Some(Arc::clone(&last.name));
        Ok(Some(ids))
    }

    /// Returns all ids at once, for types with few aggregates.
    ///
    /// # Errors
    ///
    /// As [`next_page`](Self::next_page).
    pub async fn collect(mut self) -> Result<Vec<Id<A>>> {
        let mut all = Vec::new();
        while let Some(page) = self.next_page().await? {
            all.extend(page);
        }
        Ok(all)
    }
}

fn id_of<A: Aggregate>(stream: &str) -> Result<Id<A>> {
    Id::of_stream(stream).ok_or_else(|| {
        Error::invalid(format!(
            "the stream {stream:?} has no key of {}; has the type of its key changed?",
            A::TYPE
        ))
    })
}

impl<A: Aggregate> fmt::Debug for AggregateIds<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregateIds")
            .field("type", &A::TYPE)
            .field("after", &self.after)
            .field("page_size", &self.page_size)
            .finish_non_exhaustive()
    }
}
