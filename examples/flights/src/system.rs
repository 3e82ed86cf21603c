//! The system: flights, the aircraft that follow them, and the notices that follow both.
//!
//! ```text
//! flights --movements--> aircraft --risks--> notices
//!    \__________________________risks____________/
//! ```
//!
//! Policies are short and only route events: the [`airframe`](crate::airframe) decides what an
//! event means for an aircraft, and the [`notice`](crate::notice) what it means for passengers.
//! Policies use nothing but the event, their own application and the context, so the logs can be
//! [retold](retold::system).
//!
//! # Confluence
//!
//! `flights` and `aircraft` are confluent by tail number. If the commands about one aircraft are
//! sent in order of time, as [`replay`](crate::replay) does, the events of that aircraft are the
//! same, in the same order, in both logs, regardless of the number of callers and of the runner.
//! All events about an aircraft have its tag, `aircraft:`; the tag of a flight never depends on
//! another aircraft; and an airframe receives only events with its own tag, of one log, in the
//! order of that log. This requires that the id of a flight is used by one aircraft only: of two
//! that claim it, the first wins.
//!
//! `notices` is not confluent and does not claim to be. It follows two logs, and the schedule
//! decides which one is read first. For example, the aircraft log may report a leg at risk and the
//! flights log its departure before the follower has read either. One schedule then makes a notice
//! and withdraws it; another makes none. In every schedule, however, no notice stays open for a
//! flight that departed on time. On a [`SingleThread`](retold::system::SingleThread), all effects
//! of a landing are recorded before the next command, so every leg at risk that has not departed
//! has its notice.

use retold::system::{Context, Follower, System};

use crate::airframe::{
    Airframe, Arrival, LandedElsewhere, LegAtRisk, LegDropped, LegPlanned, TookOff,
};
use crate::flight::{Arrived, Cancelled, Departed, Diverted, Flight, Scheduled};
use crate::minutes::minutes_after;
use crate::notice::{Going, Made, Notice};

/// Name of the application that receives the commands about flights.
pub const FLIGHTS: &str = "flights";

/// Name of the application that counts the flight time of each aircraft.
pub const AIRCRAFT: &str = "aircraft";

/// Name of the application that notifies passengers.
pub const NOTICES: &str = "notices";

/// Prefix of the tag with a tail number.
pub const AIRCRAFT_TAG: &str = "aircraft:";

/// Maximum number of upstream events per append of a follower. Each event costs one read and at
/// most three effects, so an append stays far below its limits. All events of an append share one
/// sync.
const BATCH: usize = 100;

/// Returns the system of flights. See the [module](self).
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
        .expect("names are unique, and followers follow known applications")
}

/// Returns the id of the flight that an event belongs to. An event of another stream is a bug, and
/// the error stops the follower: returning `Ok` instead would skip the event silently.
fn flight(context: &Context) -> retold::Result<String> {
    match context.aggregate::<Flight>() {
        Some(flight) => Ok(flight.to_string()),
        None => Err(retold::Error::Refused(
            "the event is not in the stream of a flight".into(),
        )),
    }
}

async fn plan_leg(plan: &Scheduled, context: &mut Context) -> retold::Result<()> {
    let Some(aircraft) = &plan.aircraft else {
        return Ok(()); // without a tail number, it concerns no airframe
    };
    let flight = flight(context)?;
    let leg = LegPlanned {
        aircraft: aircraft.clone(),
        flight,
        origin: plan.origin.clone(),
        departs_at: plan.departs_at,
    };
    let plan = |airframe: &Airframe| airframe.plan(leg);
    context.execute_or_create(aircraft.as_str(), plan).await?;
    Ok(())
}

async fn take_off(departed: &Departed, context: &mut Context) -> retold::Result<()> {
    let Some(aircraft) = &departed.aircraft else {
        return Ok(()); // without a tail number, it concerns no airframe
    };
    let flight = flight(context)?;
    let took_off = TookOff {
        aircraft: aircraft.clone(),
        flight,
        at: departed.at,
        planned_at: minutes_after(departed.at, departed.delay_minutes.saturating_neg()),
    };
    let take_off = |_: &Airframe| took_off;
    context
        .execute_or_create(aircraft.as_str(), take_off)
        .await?;
    Ok(())
}

async fn land(arrived: &Arrived, context: &mut Context) -> retold::Result<()> {
    let Some(aircraft) = &arrived.aircraft else {
        return Ok(()); // without a tail number, it concerns no airframe
    };
    let flight = flight(context)?;
    let arrival = Arrival {
        aircraft,
        airport: &arrived.destination,
        at: arrived.at,
        delay_minutes: arrived.delay_minutes,
    };
    let land = |airframe: &Airframe| airframe.land(&flight, arrival);
    context.execute_or_create(aircraft.as_str(), land).await?;
    Ok(())
}

async fn land_elsewhere(diverted: &Diverted, context: &mut Context) -> retold::Result<()> {
    let Some(aircraft) = &diverted.aircraft else {
        return Ok(()); // without a tail number, it concerns no airframe
    };
    let flight = flight(context)?;
    let landed = LandedElsewhere {
        aircraft: aircraft.clone(),
        flight,
    };
    let land = |airframe: &Airframe| airframe.land_elsewhere(landed);
    context.execute_or_create(aircraft.as_str(), land).await?;
    Ok(())
}

async fn drop_leg(cancelled: &Cancelled, context: &mut Context) -> retold::Result<()> {
    let Some(aircraft) = &cancelled.aircraft else {
        return Ok(()); // without a tail number, it concerns no airframe
    };
    let flight = flight(context)?;
    let dropped = LegDropped {
        aircraft: aircraft.clone(),
        flight,
    };
    let drop_leg = |airframe: &Airframe| airframe.drop_leg(dropped);
    context
        .execute_or_create(aircraft.as_str(), drop_leg)
        .await?;
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
    let flight = flight(context)?;
    let close = |notice: &Notice| notice.close(&flight, going);
    context.execute_or_create(flight.as_str(), close).await?;
    Ok(())
}
