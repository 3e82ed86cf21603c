//! Tests of the rules of shows and bookings, without HTTP and without a store.

use retold::domain::fold;
use retold::prelude::Uuid;
use retold_service_example::booking::{Booking, BookingEvent, BookingRefusal, Request, Status};
use retold_service_example::show::{HOUSE_SEATS_MAX, Show, ShowEvent, ShowRefusal};

fn request(seats: u32) -> Request {
    Request {
        show: "hamlet".into(),
        guest: "Ada".into(),
        seats,
    }
}

fn announced(seats: u32) -> ShowEvent {
    let title = "Hamlet".into();
    ShowEvent::Announced { title, seats }
}

const ADA: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);

#[test]
fn seats_are_reserved_from_the_lowest_and_once() {
    let reserved = |booking, seats: &[u32]| ShowEvent::Reserved {
        booking,
        seats: seats.to_vec(),
    };
    let show = fold(Show::default(), &[announced(4), reserved(ADA, &[1, 2])]);
    assert_eq!(show.reserve(BOB, 2), reserved(BOB, &[3, 4]));
    let turned_away = ShowEvent::TurnedAway {
        booking: BOB,
        why: "2 seats are left".into(),
    };
    assert_eq!(show.reserve(BOB, 3), turned_away);
    assert_eq!(show.release(BOB), None);
    let released = show.release(ADA).unwrap();
    let show = fold(
        Show::default(),
        &[announced(4), reserved(ADA, &[1, 2]), released],
    );
    assert_eq!(show.free(), 4);
    assert_eq!(show.reserve(BOB, 1), reserved(BOB, &[1]));
}

#[test]
fn a_show_is_announced_once() {
    let show = Show::default();
    assert_eq!(show.announce("hamlet", "Hamlet", 4), Ok(Some(announced(4))));
    assert_eq!(show.announce("hamlet", " ", 4), Err(ShowRefusal::NoTitle));
    assert_eq!(
        show.announce("hamlet", "Hamlet", 0),
        Err(ShowRefusal::NoSuchHouse)
    );
    let large = show.announce("hamlet", "Hamlet", HOUSE_SEATS_MAX + 1);
    assert_eq!(large, Err(ShowRefusal::NoSuchHouse));
    assert_eq!(show.rename("Hamlet"), Err(ShowRefusal::NotAnnounced));
    for name in ["", " ", "ham\nlet", &"h".repeat(101)] {
        let refused = show.announce(name, "Hamlet", 4);
        assert_eq!(refused, Err(ShowRefusal::NoSuchName), "{name:?}");
    }

    let show = fold(Show::default(), &[announced(4)]);
    assert_eq!(show.announce("hamlet", "Hamlet", 4), Ok(None));
    let otherwise = show.announce("hamlet", "Hamlet", 5);
    assert_eq!(otherwise, Err(ShowRefusal::AnnouncedOtherwise));
    assert_eq!(show.rename("Hamlet"), Ok(None));
}

#[test]
fn a_booking_records_the_first_decision_only() {
    let requested = || BookingEvent::Requested {
        request: request(2),
    };
    let booking = Booking::default();
    assert_eq!(booking.ask(&request(2)), Ok(Some(requested())));
    assert_eq!(booking.ask(&request(0)), Err(BookingRefusal::PartySize));
    assert_eq!(booking.ask(&request(11)), Err(BookingRefusal::PartySize));

    let booking = fold(Booking::default(), &[requested()]);
    assert_eq!(booking.ask(&request(2)), Ok(None));
    let otherwise = booking.ask(&request(3));
    assert_eq!(otherwise, Err(BookingRefusal::RequestedOtherwise));
    let cancelled = booking.cancel().unwrap().unwrap();
    let booking = fold(Booking::default(), &[requested(), cancelled]);
    assert_eq!(booking.status(), Status::Cancelled);
    assert_eq!(booking.confirm(&[1, 2]), None);
    assert_eq!(booking.decline("sold out"), None);
    assert_eq!(booking.cancel(), Ok(None));

    let declined = BookingEvent::Declined { why: "no".into() };
    let booking = fold(Booking::default(), &[requested(), declined]);
    assert_eq!(booking.cancel(), Err(BookingRefusal::WasDeclined));
}
