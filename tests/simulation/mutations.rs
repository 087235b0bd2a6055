//! The comparison notices what it has to: each wrong reference is found out.

use super::{
    rng::Rng,
    world::Plan,
    worlds::{PANICKED, run_caught},
    wrong::Wrong,
};

/// Frames within which each wrong reference has to be found out.
const FRAMES: u64 = 600_000;

#[test]
fn a_wrong_reference_is_found_out() {
    let missed: Vec<Wrong> = Wrong::ALL
        .iter()
        .copied()
        .filter(|wrong| !is_found_out(*wrong))
        .collect();
    assert_eq!(missed, [], "nobody notices these");
}

fn is_found_out(wrong: Wrong) -> bool {
    let (mut frames, mut number) = (0, 0);
    while frames < FRAMES {
        let seed = Rng::new(wrong as u64, number).next();
        let outcome = run_caught(&Plan {
            seed,
            wrong: Some(wrong),
            ..Plan::default()
        });
        frames += outcome.frames;
        if let Some((_, difference)) = outcome.failure {
            assert_ne!(difference, PANICKED, "a wrong reference runs all the same");
            println!("{wrong:?} after {frames} frames: {difference:.150}");
            return true;
        }
        number += 1;
    }
    false
}
