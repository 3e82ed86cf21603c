//! The same table once more, kept in memory by a projection: so each node of a cluster has it for its
//! readers, whatever the store.

use std::sync::Arc;

use retold::prelude::*;
use retold::recording::error::Invalid;
use retold::system::memory_view::MemoryView;
use retold::system::projection::{Projection, ViewKeeper};

use crate::flight::FlightEvent;
use crate::on_time::OnTime;
use crate::on_time_view::ON_TIME;
use crate::system::FLIGHTS;

/// Number of the table's shape; whoever changes what is counted raises it.
const VERSION: u32 = 1;

/// What keeps this view.
///
/// # Errors
///
/// As for [`MemoryView::keep`], of which none can be.
pub fn keep_on_time_in_memory(view: &MemoryView<OnTime>) -> Result<Arc<dyn ViewKeeper>, Invalid> {
    let projection = Projection::<MemoryView<OnTime>>::new(ON_TIME, VERSION, FLIGHTS);
    view.keep(projection.on::<FlightEvent>(|view, logged| {
        view.apply(&logged.event);
        Ok(())
    }))
}
