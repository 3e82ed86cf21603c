use retold::prelude::*;

#[derive(Event, Serialize, Deserialize)]
enum DogEvent {
    Registered { name: String },
}

#[derive(Event)]
struct Meowed;

#[derive(Aggregate, Clone, Default)]
#[aggregate(event = DogEvent)]
struct Dog;

impl Apply<DogEvent> for Dog {
    fn apply(&mut self, _: &DogEvent) {}
}

fn decide<A: Aggregate, D: Decision<A::Event>>(_: Id<A>, _: impl Fn(&A) -> D) {}

fn main() {
    let id = Id::<Dog>::new(Uuid::nil());
    decide(id, |_| "registered");
    decide(id, |_| Meowed);
    decide(id, |_| Some(Ok::<_, String>(DogEvent::Registered { name: String::new() })));
}
