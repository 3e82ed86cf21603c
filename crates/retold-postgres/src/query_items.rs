//! The items of a query as parameters of a statement that reads: lists of equal length, with one
//! entry for each item, and one list of all names.
//!
//! A statement that appends takes items as rows of a composite type. Reads do not, because the
//! driver would ask the server for that type on each connection that reads.

use retold_core::recording::QueryItem;

/// The items of a query. The statements take the names of an item from `names`: first its streams,
/// then its topics, then its tags.
#[derive(Debug, Default)]
pub(crate) struct QueryItems<'a> {
    /// The index in `names` of the first name of each item, counted from 1.
    pub(crate) starts: Vec<i32>,
    /// The number of streams of each item.
    pub(crate) streams: Vec<i32>,
    /// The number of topics of each item.
    pub(crate) topics: Vec<i32>,
    /// The number of tags of each item.
    pub(crate) tags: Vec<i32>,
    pub(crate) names: Vec<&'a str>,
}

impl<'a> QueryItems<'a> {
    pub(crate) fn of(items: &'a [QueryItem]) -> Self {
        let mut lists = Self::default();
        for item in items {
            lists.starts.push(count(lists.names.len() + 1));
            lists.streams.push(count(item.streams.len()));
            lists.topics.push(count(item.topics.len()));
            lists.tags.push(count(item.tags.len()));
            lists.names.extend(names(item));
        }
        lists
    }
}

/// Returns the names of an item: streams, topics, tags.
pub(crate) fn names(item: &QueryItem) -> impl Iterator<Item = &str> {
    let names = item.streams.iter().chain(&item.topics).chain(&item.tags);
    names.map(|name| &**name)
}

/// Converts a length to the database's type. Queries and groups are limited far below its maximum.
pub(crate) fn count(length: usize) -> i32 {
    i32::try_from(length).expect("a query and a group are bounded")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed_by_item_and_kind() {
        let items = [
            QueryItem::new().tag("t").topic("b").topic("a").stream("s"),
            QueryItem::new().tag("u"),
        ];
        let lists = QueryItems::of(&items);
        assert_eq!(lists.names, ["s", "a", "b", "t", "u"]);
        assert_eq!(lists.starts, [1, 5]);
        assert_eq!(
            (lists.streams, lists.topics, lists.tags),
            (vec![1, 0], vec![2, 0], vec![1, 1])
        );
    }
}
