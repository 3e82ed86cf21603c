//! Tests of the input: counts of January that were computed independently, single rows, and invalid
//! files.

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use retold_flights::flaw::Flaw;
use retold_flights::input::{Input, InputError};
use retold_flights::record::{FlightRecord, Outcome};

const COLUMNS: &str = "year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,\
                       arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,\
                       time_hour";

fn read(rows: &str) -> Input {
    Input::read("test.csv", format!("{COLUMNS}\n{rows}\n").as_bytes()).unwrap()
}

#[track_caller]
fn flaws_of(input: &Input) -> Vec<(Flaw, u64)> {
    input.flaws.iter().collect()
}

#[test]
fn january_matches_independent_counts() {
    let january = Input::january().unwrap();
    let outcomes = |is_counted: fn(&FlightRecord) -> bool| {
        january.flights.iter().filter(|it| is_counted(it)).count()
    };
    assert_eq!(january.flights.len(), 27_004);
    assert_eq!(outcomes(|it| it.outcome == Outcome::Cancelled), 521);
    assert_eq!(
        outcomes(|it| matches!(it.outcome, Outcome::Arrived { .. })),
        26_398
    );
    assert_eq!(
        outcomes(|it| matches!(
            it.outcome,
            Outcome::Diverted {
                reached_at: None,
                ..
            }
        )),
        15
    );
    assert_eq!(
        outcomes(|it| matches!(
            it.outcome,
            Outcome::Diverted {
                reached_at: Some(_),
                ..
            }
        )),
        70
    );
    assert_eq!(
        flaws_of(&january),
        [
            (Flaw::DepartedWithoutArrival, 85),
            (Flaw::NoTailNumber, 155),
            (Flaw::MidnightAs2400, 11),
            (Flaw::DepartedAfterMidnight, 52),
            (Flaw::ArrivedAfterMidnight, 724),
        ]
    );
}

#[track_caller]
fn check(row: &str, departed_at: &str, arrived_at: &str, flaws: &[(Flaw, u64)]) {
    let input = read(row);
    let outcome = Outcome::Arrived {
        departed_at: departed_at.parse().unwrap(),
        arrived_at: arrived_at.parse().unwrap(),
    };
    assert_eq!(input.flights.len(), 1, "{:?}", input.flaws);
    assert_eq!(input.flights[0].outcome, outcome);
    assert_eq!(flaws_of(&input), flaws);
}

#[test]
fn times_are_local_to_the_airports() {
    check(
        "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z",
        "2013-01-01T10:17:00Z",
        "2013-01-01T14:30:00Z",
        &[],
    );
}

#[test]
fn delays_carry_over_midnight() {
    check(
        "2013,1,1,2400,2359,1,436,445,-9,B6,707,N618JB,JFK,SJU,187,1598,23,59,2013-01-02T04:00:00Z",
        "2013-01-02T05:00:00Z",
        "2013-01-02T08:36:00Z",
        &[(Flaw::MidnightAs2400, 1), (Flaw::DepartedAfterMidnight, 1)],
    );
    check(
        "2013,1,1,2240,2230,10,15,2400,15,B6,1,N1,JFK,BOS,40,187,22,30,2013-01-02T03:00:00Z",
        "2013-01-02T03:40:00Z",
        "2013-01-02T05:15:00Z",
        &[(Flaw::MidnightAs2400, 1), (Flaw::ArrivedAfterMidnight, 1)],
    );
}

#[test]
fn disagreements_are_counted_and_resolved_by_the_delay() {
    check(
        "2013,1,1,518,515,2,831,819,11,UA,1545,N14228,EWR,IAH,0,1400,6,15,2013-01-01T10:00:00Z",
        "2013-01-01T10:17:00Z",
        "2013-01-01T14:30:00Z",
        &[
            (Flaw::DepartureDisagrees, 1),
            (Flaw::ArrivalDisagrees, 1),
            (Flaw::AirTimeImpossible, 1),
        ],
    );
    check(
        "2013,1,1,517,515,2,418,819,-241,UA,15,N1,EWR,IAH,,1400,5,15,2013-01-01T10:00:00Z",
        "2013-01-01T10:17:00Z",
        "2013-01-01T10:18:00Z",
        &[],
    );
    check(
        "2013,1,1,517,515,2,417,819,-242,UA,15,N1,EWR,IAH,,1400,5,15,2013-01-01T10:00:00Z",
        "2013-01-01T10:17:00Z",
        "2013-01-01T10:17:00Z",
        &[(Flaw::ArrivalBeforeDeparture, 1)],
    );
    check(
        "2013,1,2,517,515,2,830,819,11,UA,1545,N1,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z",
        "2013-01-01T10:17:00Z",
        "2013-01-01T14:30:00Z",
        &[(Flaw::HourDisagrees, 1)],
    );
}

#[test]
fn missing_values_are_empty_or_na() {
    for missing in ["", "NA"] {
        let input = read(&format!(
            "2013,1,1,{missing},1630,{missing},{missing},1815,{missing},EV,4308,{missing},EWR,RDU,\
             {missing},416,16,30,2013-01-01T21:00:00Z"
        ));
        assert_eq!(input.flights[0].outcome, Outcome::Cancelled);
        assert_eq!(input.flights[0].aircraft, None);
        assert_eq!(flaws_of(&input), [(Flaw::NoTailNumber, 1)]);
    }
}

#[test]
fn repeated_flights_and_numbers_are_counted() {
    let row = |origin: &str| {
        format!(
            "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,{origin},IAH,227,1400,5,15,\
             2013-01-01T10:00:00Z\n"
        )
    };
    let input = read(&(row("EWR") + &row("EWR") + &row("JFK") + &row("EWR")));
    assert_eq!(input.flights.len(), 4);
    assert_eq!(
        flaws_of(&input),
        [(Flaw::FlightRepeated, 2), (Flaw::NumberRepeated, 1)]
    );
}

#[test]
fn rows_that_cannot_be_understood_are_counted_with_line_and_reason() {
    let input = read(
        "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,XXX,227,1400,5,15,2013-01-01T10:00:00Z\n\
         2013,1,1\n\
         2013,2,30,517,515,2,830,819,11,UA,1545,N1,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n\
         2013,1,1,2567,515,2,830,819,11,UA,1545,N1,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n\
         2013,1,1,517,515,2,830,819,11,UA,many,N1,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n\
         2013,1,1,NA,515,NA,830,819,11,UA,1545,N1,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n\
         2013,1,1,517,515,late,830,819,11,UA,1545,N1,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z\n\
         2013,1,1,517,515,2,830,819,11,UA,1545,N1,EWR,IAH,227,1400,5,15,2013-01-01T10:00:00Z",
    );
    assert_eq!(input.flights.len(), 1);
    assert_eq!(flaws_of(&input), [(Flaw::Unreadable, 7)]);
    let problems: Vec<_> = input
        .flaws
        .unreadable()
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        "line 2: the time zone of airport \"XXX\" is unknown",
        "line 3: ",
        "line 4: 2013-2-30 is not a date",
        "line 5: dep_time \"2567\" is not a time of day",
        "line 6: ",
        "line 7: it arrived, but has no departure",
        "line 8: dep_delay \"late\" is not a number of minutes",
    ];
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(
            problem.starts_with(expected),
            "{problem} is not {expected}…"
        );
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_file_may_be_plain_or_packed() {
    let folder = tempfile::tempdir().unwrap();
    let row = "2013,1,1,517,515,2,830,819,11,UA,1545,N14228,EWR,IAH,227,1400,5,15,\
               2013-01-01T10:00:00Z";
    let csv = format!("{COLUMNS}\r\n{row}\r\n");
    let expected = read(row);

    let plain = folder.path().join("flights.csv");
    write(&plain, csv.as_bytes());
    assert_eq!(Input::open(&plain).unwrap(), expected);

    let packed = folder.path().join("flights.csv.gz");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(csv.as_bytes()).unwrap();
    write(&packed, &encoder.finish().unwrap());
    assert_eq!(Input::open(&packed).unwrap(), expected);

    let archive = folder.path().join("flights.zip");
    write(
        &archive,
        &zip_of(&[("flights.csv", &csv), ("about.txt", "flights")]),
    );
    assert_eq!(Input::open(&archive).unwrap(), expected);
}

fn zip_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, text) in files {
        let options = zip::write::SimpleFileOptions::default();
        archive.start_file(*name, options).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn other_files_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |path: &Path| Input::open(path).unwrap_err().to_string();

    let missing = refusal(&folder.path().join("missing.csv"));
    assert!(missing.contains("missing.csv"), "{missing}");

    let other = folder.path().join("dogs.csv");
    write(&other, b"name,tricks\nFido,2\n");
    assert!(matches!(
        Input::open(&other).unwrap_err(),
        InputError::ColumnMissing(_, "year")
    ));

    let archive = folder.path().join("dogs.zip");
    write(&archive, &zip_of(&[("dogs.txt", ""), ("cats.txt", "")]));
    let found = refusal(&archive);
    assert!(found.contains("dogs.txt"), "{found}");

    let torn = folder.path().join("torn.csv.gz");
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(COLUMNS.repeat(100).as_bytes()).unwrap();
    let bytes = encoder.finish().unwrap();
    write(&torn, &bytes[..bytes.len() / 2]);
    let found = refusal(&torn);
    assert!(found.contains("torn.csv.gz"), "{found}");

    let empty = folder.path().join("empty.csv");
    write(&empty, b"");
    let found = refusal(&empty);
    assert!(found.contains("has no column"), "{found}");
}
