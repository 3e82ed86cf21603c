use retold::prelude::*;

#[derive(Event, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
enum Tagged {
    Barked { loudness: u8 },
}

#[derive(Event, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Barked { loudness: u8 },
}

#[derive(Event, Serialize, Deserialize)]
enum Skipped {
    Barked { loudness: u8 },
    #[serde(skip)]
    Slept,
}

#[derive(Event, Serialize, Deserialize)]
enum Other {
    Barked { loudness: u8 },
    #[serde(other)]
    Slept,
}

fn main() {}
