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
    // Reception and classification.
    RelaysReserved,
    ForeignTagIsPayload,
    PriorityTagHidesTag,
    AccessTakesOwnVid,
    NoIngressFiltering,
    NativeVidRefused,
    // Learning.
    LearnsWhatItRefuses,
    AgesOneTickEarly,
    NeverRefreshes,
    SharedLearning,
    StaticsMove,
    NeverMoves,
    MacLimitPlusOne,
    MacLimitCountsStatics,
    RemembersDownPorts,
    RemembersFormerMembers,
    // Addresses that move.
    NeverQuarantined,
    QuarantinedLate,
    QuarantineEndsEarly,
    GoingHomeCounts,
    WindowIsEndless,
    ThievesKeepAddresses,
    StaticsAreHeld,
    // Destinations.
    UplinksBridged,
    IsolationForgotten,
    FloodsBack,
    FloodsToDownPorts,
    // Tags and lengths.
    PopsHiddenTags,
    PriorityLost,
    DropEligibilityLost,
    NoTranslation,
    MtuIncludesTag,
    // Access control lists.
    ListsIgnored,
    DirectionsSwapped,
    NetworksForgotten,
    LastMatchWins,
    DefaultAllows,
    CountingAllows,
    LaterFragmentsEscape,
    LaterFragmentsAreAllowed,
    MalformedPasses,
    DeniedTeaches,
    // What met rules.
    DenialsUncounted,
    DefaultsUncounted,
    DecisionsOnlyCounted,
    ListBehindDenialCounts,
    WaysOutUncounted,
    TagsUncounted,
    ReloadForgetsHits,
    HitsKeepPositions,
    // Security.
    GuardsIgnored,
    StrictAllows,
    AddressesUnchecked,
    ClaimsUnchecked,
    LinkLocalRefused,
    BeginnersRefused,
    StormsPass,
    // Policers.
    PolicersIgnored,
    ExcessNeverFills,
    ColoursIgnored,
    NeverMarks,
    ReloadFillsBuckets,
    RulePolicersIgnored,
    RulePolicersLast,
    RulesKeepPositions,
    RulesShareBuckets,
    // Traffic classes.
    NothingIsBelieved,
    LastPlaceDecides,
    MapsIgnored,
    ChecksumForgotten,
    MarksForgotten,
    QueuesMixed,
    RulesOnlyAllow,
}
