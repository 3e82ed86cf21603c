//! The same table, kept in memory by a projection. Each node of a cluster has its own copy for its
//! readers, with any store.

use std::sync::Arc;

use retold::prelude::*;
use retold::projection::{MemoryView, Projection, ViewStore};
use retold::recording::Invalid;

use crate::flight::FlightEvent;
use crate::on_time::OnTime;
use crate::on_time_view::ON_TIME;
use crate::system::FLIGHTS;

/// Version of the view. Raise it when you change what is counted.
const VERSION: u32 = 1;

/// Returns the view store of this view.
///
/// # Errors
///
/// As for [`MemoryView::keep`]; none can occur here.
pub fn keep_on_time_in_memory(view: &MemoryView<OnTime>) -> Result<Arc<dyn ViewStore>, Invalid> {
    let projection = Projection::<MemoryView<OnTime>>::new(ON_TIME, VERSION, FLIGHTS);
    view.keep(projection.on::<FlightEvent>(|view, logged| {
        view.apply(&logged.event);
        Ok(())
    }))
}
