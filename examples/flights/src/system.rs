//! The system: flights, the aircraft that follow them, and the notices that follow both.
//!
//! ```text
//! flights --movements--> aircraft --risks--> notices
//!    \__________________________risks____________/
//! ```
//!
//! Policies are short and only route: what an event means for an aircraft is for the
//! [`airframe`](crate::airframe) to say, what it means for passengers for the
//! [`notice`](crate::notice). No policy looks at anything but the event, its own application and the
//! context, so the logs can be [retold](retold::system).
//!
//! # What is confluent
//!
//! `flights` and `aircraft` are confluent by tail number: whoever sends the commands about one
//! aircraft in order of time, as [`replay`](crate::replay) does, finds the same events of that
//! aircraft in the same order in both logs, however many callers there are and whatever runs the
//! system. All that happens to an aircraft has its tag, `aircraft:`; a flight's tag never depends on
//! another aircraft's; and an airframe is told of nothing but events with its own tag, of one log, in
//! that log's order. It takes that a flight's id is used by one aircraft only: of two that claim it,
//! the first is served.
//!
//! `notices` is not, and does not claim it. It follows two logs, and the schedule decides which of them
//! is heard first: a leg may be at risk by the log of aircraft, and have departed by the log of flights,
//! before either was looked at. Then one schedule makes a notice and withdraws it, and another makes
//! none. What holds in every schedule: nobody is left with a notice about a flight that departed on
//! time. On a [`SingleThread`](retold::system::SingleThread) all that a landing causes has happened
//! before the next command, so there every leg at risk that has not departed has its notice.

use retold::system::{Context, Follower, System};

use crate::airframe::{
    Airframe, Arrival, LandedElsewhere, LegAtRisk, LegDropped, LegPlanned, TookOff,
};
use crate::flight::{Arrived, Cancelled, Departed, Diverted, Flight, Scheduled};
use crate::minutes::minutes_after;
use crate::notice::{Going, Made, Notice};

/// Name of the application that is told what happened.
pub const FLIGHTS: &str = "flights";

/// Name of the application that knows how far each aircraft has flown.
pub const AIRCRAFT: &str = "aircraft";

/// Name of the application that tells passengers.
pub const NOTICES: &str = "notices";

/// What the tag with a tail number begins with.
pub const AIRCRAFT_TAG: &str = "aircraft:";

/// Upstream events that one append of a follower may cover. Each costs one read and at most three
/// effects, so that an append stays far below its limits; a sync is shared by as many.
const BATCH: usize = 100;

/// The system of flights. See the [module](self).
///
/// ```
/// let picture = retold_flights::system::system().to_mermaid();
/// assert!(picture.contains("flights -->|movements| aircraft"));
/// ```
pub fn system() -> System {
    let movements = Follower::new("movements")
        .follows(FLIGHTS)
        .on(plan_leg)
        .on(take_off)
        .on(land)
        .on(land_elsewhere)
        .on(drop_leg)
        .batch(BATCH);
    let risks = Follower::new("risks")
        .follows(AIRCRAFT)
        .follows(FLIGHTS)
        .on(make_notice)
        .on(close_departed)
        .on(close_cancelled)
        .batch(BATCH);
    System::new("flights")
        .application(FLIGHTS, |app| {
            app.aggregate::<Flight>().confluent_by_tag(AIRCRAFT_TAG)
        })
        .application(AIRCRAFT, |app| {
            app.aggregate::<Airframe>()
                .follower(movements)
                .confluent_by_tag(AIRCRAFT_TAG)
        })
        .application(NOTICES, |app| app.aggregate::<Notice>().follower(risks))
        .build()
        .expect("each name is there once, and each follower follows one of them")
}

/// The flight that an event is of, and the tail number it names. An event that names none concerns no
/// aircraft.
fn flight_and_aircraft<'e>(
    context: &Context,
    aircraft: &'e Option<String>,
) -> Option<(String, &'e str)> {
    let flight = context.aggregate::<Flight>()?;
    Some((flight.to_string(), aircraft.as_deref()?))
}

async fn plan_leg(plan: &Scheduled, context: &mut Context) -> retold::Result<()> {
    let Some((flight, aircraft)) = flight_and_aircraft(context, &plan.aircraft) else {
        return Ok(());
    };
    let leg = LegPlanned {
        aircraft: aircraft.into(),
        flight,
        origin: plan.origin.clone(),
        departs_at: plan.departs_at,
    };
    let plan = |airframe: &Airframe| airframe.plan(leg);
    context.execute_or_create(aircraft, plan).await?;
    Ok(())
}

async fn take_off(departed: &Departed, context: &mut Context) -> retold::Result<()> {
    let Some((flight, aircraft)) = flight_and_aircraft(context, &departed.aircraft) else {
        return Ok(());
    };
    let took_off = TookOff {
        aircraft: aircraft.into(),
        flight,
        at: departed.at,
        planned_at: minutes_after(departed.at, departed.delay_minutes.saturating_neg()),
    };
    let take_off = |_: &Airframe| took_off;
    context.execute_or_create(aircraft, take_off).await?;
    Ok(())
}

async fn land(arrived: &Arrived, context: &mut Context) -> retold::Result<()> {
    let Some((flight, aircraft)) = flight_and_aircraft(context, &arrived.aircraft) else {
        return Ok(());
    };
    let arrival = Arrival {
        aircraft,
        airport: &arrived.destination,
        at: arrived.at,
        delay_minutes: arrived.delay_minutes,
    };
    let land = |airframe: &Airframe| airframe.land(&flight, arrival);
    context.execute_or_create(aircraft, land).await?;
    Ok(())
}

async fn land_elsewhere(diverted: &Diverted, context: &mut Context) -> retold::Result<()> {
    let Some((flight, aircraft)) = flight_and_aircraft(context, &diverted.aircraft) else {
        return Ok(());
    };
    let landed = LandedElsewhere {
        aircraft: aircraft.into(),
        flight,
    };
    let land = |airframe: &Airframe| airframe.land_elsewhere(landed);
    context.execute_or_create(aircraft, land).await?;
    Ok(())
}

async fn drop_leg(cancelled: &Cancelled, context: &mut Context) -> retold::Result<()> {
    let Some((flight, aircraft)) = flight_and_aircraft(context, &cancelled.aircraft) else {
        return Ok(());
    };
    let dropped = LegDropped {
        aircraft: aircraft.into(),
        flight,
    };
    let drop_leg = |airframe: &Airframe| airframe.drop_leg(dropped);
    context.execute_or_create(aircraft, drop_leg).await?;
    Ok(())
}

async fn make_notice(at_risk: &LegAtRisk, context: &mut Context) -> retold::Result<()> {
    let notice = Made {
        flight: at_risk.flight.clone(),
        aircraft: at_risk.aircraft.clone(),
        departs_at: at_risk.departs_at,
        ready_at: at_risk.ready_at,
    };
    let make = |it: &Notice| it.make(notice);
    let flight = at_risk.flight.as_str();
    context.execute_or_create(flight, make).await?;
    Ok(())
}

async fn close_departed(departed: &Departed, context: &mut Context) -> retold::Result<()> {
    let delay_minutes = departed.delay_minutes;
    close(Going::Departed { delay_minutes }, context).await
}

async fn close_cancelled(_: &Cancelled, context: &mut Context) -> retold::Result<()> {
    close(Going::Cancelled, context).await
}

async fn close(going: Going, context: &mut Context) -> retold::Result<()> {
    let Some(flight) = context.aggregate::<Flight>() else {
        return Ok(());
    };
    let flight = flight.to_string();
    let close = |notice: &Notice| notice.close(&flight, going);
    context.execute_or_create(flight.as_str(), close).await?;
    Ok(())
}
