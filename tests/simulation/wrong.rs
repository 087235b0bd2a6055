//! Ways to be wrong: each makes the reference differ from the standard in one point, and the
//! comparison has to notice. A test that cannot fail is a defect.

macro_rules! wrongs {
    ($($name:ident,)+) => {
        /// What a reference switch does wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Wrong {
            $($name,)+
        }

        impl Wrong {
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

wrongs! {
    RelaysReserved,
    ForeignTagIsPayload,
    PriorityTagHidesTag,
    AccessTakesOwnVid,
    NoIngressFiltering,
    AgesOneTickEarly,
    SharedLearning,
    StaticsMove,
    NeverMoves,
    MacLimitPlusOne,
    UplinksBridged,
    IsolationForgotten,
    FloodsBack,
    PopsHiddenTags,
    PriorityLost,
    MtuIncludesTag,
    RemembersDownPorts,
}
