use retold::prelude::*;

#[derive(Event, Serialize, Deserialize)]
enum DogEvent {
    Registered { name: String },
    #[event(topic = "DogEvent.Registered")]
    Renamed { name: String },
}

#[derive(Event, Serialize, Deserialize)]
enum CatEvent {
    #[event(formerly("cat seen"))]
    Born { name: String },
    #[event(formerly("cat heard", "cat seen"))]
    Adopted { name: String },
}

#[derive(Event)]
#[event(formerly("Barked"))]
struct Barked;

fn main() {}
