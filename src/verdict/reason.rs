//! Why a finding has its verdict, as data. [`crate::report`] holds the sentences; docs/reasons.md
//! lists the codes.

use serde::{Deserialize, Serialize};

use crate::audit::ValueKey;
use crate::plan::{ContextKind, Form};

/// One reason. Probabilities, effects and margins are on the probability scale.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "kebab-case", rename_all_fields = "snake_case")]
pub enum Reason {
    // The dataset and its reading.
    /// The base cannot read the text, so that shadows learn noise.
    Unreadable {
        share: f64,
        needed: f64,
    },
    /// The same of the rows that are given beside an adapter.
    GivenRowsUnreadable {
        share: f64,
        needed: f64,
    },
    /// Nothing was trained and asked, because the base cannot read the dataset.
    NotExamined,
    /// Rows are longer than the recipe's limit: their ends were not trained on.
    RowsCut {
        rows: usize,
        of: usize,
        max_tokens: usize,
        longest: usize,
    },
    /// Rows beside an adapter hold a turn that the base cannot be asked after.
    GivenRowsCut {
        rows: usize,
        of: usize,
        max_tokens: usize,
        base_max_tokens: usize,
    },
    RowsRejected {
        rows: usize,
        of: usize,
    },
    /// The same of the rows that are given beside an adapter.
    GivenRowsRejected {
        rows: usize,
        of: usize,
    },

    // The plan.
    /// Too few seeds to confirm a trigger.
    NoSeedsToConfirm {
        seeds: usize,
    },
    OneSeed {
        seeds: usize,
        needed: usize,
    },
    NoProbes,
    FewFamilies {
        families: usize,
        needed: usize,
    },
    /// More families were left out, because the dataset asks nearly the same, than are left.
    FamiliesExcluded {
        excluded: usize,
        left: usize,
    },

    // Training.
    NoTrainingRecord {
        shadow: ShadowName,
        others: usize,
    },
    AdapterWithoutEffect {
        shadow: ShadowName,
        others: usize,
    },
    LossNotANumber {
        shadow: ShadowName,
        others: usize,
    },
    LossDidNotFall {
        shadow: ShadowName,
        others: usize,
    },
    /// Training cost a control the base's own answers; `form` is what its answers share.
    ControlIncoherent {
        shadow: ShadowName,
        others: usize,
        form: Option<Form>,
    },

    // Could a shift have been seen?
    /// No positive control was trained.
    ControlNotTried,
    /// The positive control was not detected; `None` where nothing of it could be scored.
    ControlMissed {
        effect: Option<MissedControl>,
    },
    /// Nothing was trained, and a calibration of the base did not detect the positive control.
    CalibrationMissed {
        tried: f64,
    },
    NotCalibrated,
    ControlDetected {
        at: At,
        point: f64,
        lower: f64,
        upper: f64,
    },
    /// What a calibration of the base detected; `share` is `None` where it was nothing.
    CalibratedTo {
        share: Option<f64>,
        tried: f64,
        rows: usize,
        seeds: usize,
        steps: usize,
    },
    ComparisonsUnscored {
        missing: usize,
        comparisons: usize,
    },
    ConditionsUnscored {
        conditions: usize,
    },
    /// What the answers share, which the control has too, may move the base by the margin.
    FormMovesControl {
        form: Form,
        at: At,
        control: f64,
        base: f64,
        margin: f64,
    },

    // Effects.
    EffectAboveMargin {
        at: At,
        point: f64,
        lower: f64,
        upper: f64,
        margin: f64,
        p_adjusted: f64,
        over_base: f64,
    },
    /// The effect on the log-odds scale is above its margin; all in nats. `dose` is what the known
    /// poison does at this share of the rows.
    LogOddsAboveMargin {
        at: At,
        point: f64,
        lower: f64,
        upper: f64,
        margin: f64,
        p_adjusted: f64,
        dose: f64,
        share: f64,
        /// Whether no comparison exceeds the margin on the probability scale.
        only: bool,
    },
    ComparisonsAboveMargin {
        above: usize,
        comparisons: usize,
    },
    /// Enough single trainings exceed control and base by the margin.
    TrainingsShift {
        at: At,
        shifted: usize,
        trainings: usize,
        tolerated: f64,
        p_adjusted: f64,
    },
    /// Some trainings shift, too few to flag and too many to clear.
    TrainingsUnresolved {
        at: At,
        shifted: Vec<u64>,
        trainings: usize,
        margin: f64,
        tolerated: f64,
        seeds_needed: Option<usize>,
    },
    /// The result depends on one family of questions; the effect without it.
    RestsOnFamily {
        family: String,
        point: f64,
        lower: f64,
        upper: f64,
    },
    /// The effect was seen only where the dataset's questions alone move the untouched base.
    ShiftedBaseline {
        excess: Excess,
        base: f64,
        plain: f64,
    },
    /// The candidate differs from the control, and not from the untouched base.
    BaseAnswersSo {
        excess: Excess,
        base: f64,
        control: f64,
        candidate: f64,
        margin: f64,
    },
    /// An interval reaches the margin.
    IntervalCrossesMargin {
        open: usize,
        comparisons: usize,
        margin: f64,
        at: At,
        point: f64,
        lower: f64,
        upper: f64,
    },
    /// An interval on the log-odds scale reaches its margin; nats.
    LogOddsCrossMargin {
        open: usize,
        comparisons: usize,
        at: At,
        point: f64,
        lower: f64,
        upper: f64,
        margin: f64,
        dose: f64,
        share: f64,
    },
    /// Every interval on the log-odds scale is below its margin; nats.
    LogOddsBelowMargin {
        at: At,
        upper: f64,
        margin: f64,
        dose: f64,
        share: f64,
    },
    /// What would settle the open intervals: seeds, or families of a given adapter.
    ToSettle {
        base_answers_so: bool,
        units: Option<usize>,
        detectable: Option<f64>,
    },
    /// Answers that could not be scored may have been the harmful ones.
    UnscoredMayExceed {
        at: At,
        unscored: usize,
        upper: f64,
    },
    /// Comparisons in which what the candidate is compared with leaves no headroom for a shift.
    NoHeadroom {
        without: usize,
        comparisons: usize,
        margin: f64,
        at: At,
        reference: f64,
    },
    /// At some checkpoint no comparison of a kind has headroom.
    NowhereHeadroom,
    BelowMargin {
        below: usize,
        comparisons: usize,
        margin: f64,
        upper: f64,
        at: At,
    },
    BoundsNeedNoCorrection,
    /// What holds of a given adapter need not hold of another training.
    ThisAdapterOnly,
    /// A shift in a smaller share of trainings may be absent from all seeds by chance.
    RareShiftMissed {
        share: f64,
        seeds: usize,
    },

    // Triggers that were neither shown nor ruled out.
    ConditionsCrowdedOut {
        conditions: usize,
        first: String,
    },
    TriggerUnresolved {
        condition: ConditionName,
        more: usize,
        point: f64,
        margin: f64,
        p_adjusted: f64,
        strongest_null: Option<f64>,
        candidate: (f64, f64),
        candidate_moves: bool,
    },
    /// Exceeds the screening threshold, and more conditions did than are confirmed.
    TriggersNotConfirmed {
        condition: ConditionName,
        more: usize,
    },
    /// Null conditions themselves bring out the shift.
    NoisyNulls {
        conditions: String,
        noisy: usize,
        nulls: usize,
    },

    // A confirmed trigger. Pairs are the mean risk under the condition and under null conditions.
    TriggerShown {
        condition: ConditionName,
        identity: Option<ValueKey>,
        nulls: usize,
        candidate: (f64, f64),
        reference: (f64, f64),
        base: Option<(f64, f64)>,
    },
    TriggerConfirmed {
        point: f64,
        lower: f64,
        upper: f64,
        margin: f64,
        p_adjusted: f64,
        strongest_null: Option<f64>,
    },
    NullExceedsTrigger,
    EffectWithoutCondition {
        point: f64,
    },
    TriggerExplicit {
        rows: usize,
    },
    /// No rows were given.
    TriggerRowsUnknown,
    /// No row that was examined has it.
    TriggerInNoSampledRow {
        rows_examined: usize,
        rows: usize,
    },
    TriggerInNoRow,
    /// Rows have it, and whether their answers differ was not tested.
    TriggerRowsUntested {
        rows: usize,
        is_text: bool,
    },
    /// Rows have it, and their answers are not shown to differ.
    TriggerRowsAlike {
        rows: usize,
        p_adjusted: f64,
    },
    BaseKnowsCondition,
}

/// Where an effect was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    pub context: ContextKind,
    pub step: usize,
}

/// A condition by the names of its group and value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionName {
    /// The slot, as the prompts have it, or the feature: `year in "Today is {date}."`.
    pub slot: String,
    /// `None` for a feature, which is present or absent.
    pub value: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShadowName {
    /// As people read it: `candidate`.
    pub arm: String,
    pub seed: u64,
}

/// An effect of the positive control that is not above the margin with confidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MissedControl {
    pub point: f64,
    pub lower: f64,
    pub upper: f64,
    pub over_base: f64,
    pub margin: f64,
    /// The untouched base answers so nearly as often.
    pub base_answers_so: bool,
}

/// How the candidate exceeds the control by the margin: on average, or in single trainings only.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "by")]
pub enum Excess {
    Mean { at: At, point: f64, margin: f64 },
    Trainings { at: At, trainings: usize, of: usize, margin: f64 },
}

/// What a reason does to a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bearing {
    /// Keeps a finding from being clean.
    BlocksClean,
    SupportsFlagged,
    /// Decides nothing.
    Note,
}

impl Reason {
    /// The stable name, for programs: `rows-rejected`.
    pub fn code(&self) -> String {
        let value = serde_json::to_value(self).expect("reasons are numbers, texts and names");
        value["code"].as_str().expect("every reason is tagged with its code").to_owned()
    }

    pub fn bearing(&self) -> Bearing {
        use Reason::*;
        match self {
            EffectAboveMargin { .. }
            | LogOddsAboveMargin { .. }
            | ComparisonsAboveMargin { .. }
            | TrainingsShift { .. }
            | TriggerShown { .. }
            | TriggerConfirmed { .. } => Bearing::SupportsFlagged,
            RestsOnFamily { .. }
            | ToSettle { .. }
            | NoHeadroom { .. }
            | BelowMargin { .. }
            | LogOddsBelowMargin { .. }
            | BoundsNeedNoCorrection
            | ControlDetected { .. }
            | CalibratedTo { .. }
            | ThisAdapterOnly
            | RareShiftMissed { .. }
            | NullExceedsTrigger
            | EffectWithoutCondition { .. }
            | TriggerExplicit { .. }
            | TriggerRowsUnknown
            | TriggerInNoSampledRow { .. }
            | TriggerInNoRow
            | TriggerRowsUntested { .. }
            | TriggerRowsAlike { .. }
            | BaseKnowsCondition => Bearing::Note,
            Unreadable { .. }
            | GivenRowsUnreadable { .. }
            | NotExamined
            | RowsCut { .. }
            | GivenRowsCut { .. }
            | RowsRejected { .. }
            | GivenRowsRejected { .. }
            | NoSeedsToConfirm { .. }
            | OneSeed { .. }
            | NoProbes
            | FewFamilies { .. }
            | FamiliesExcluded { .. }
            | NoTrainingRecord { .. }
            | AdapterWithoutEffect { .. }
            | LossNotANumber { .. }
            | LossDidNotFall { .. }
            | ControlIncoherent { .. }
            | ControlNotTried
            | ControlMissed { .. }
            | CalibrationMissed { .. }
            | NotCalibrated
            | ComparisonsUnscored { .. }
            | ConditionsUnscored { .. }
            | FormMovesControl { .. }
            | TrainingsUnresolved { .. }
            | ShiftedBaseline { .. }
            | BaseAnswersSo { .. }
            | IntervalCrossesMargin { .. }
            | LogOddsCrossMargin { .. }
            | UnscoredMayExceed { .. }
            | NowhereHeadroom
            | ConditionsCrowdedOut { .. }
            | TriggerUnresolved { .. }
            | TriggersNotConfirmed { .. }
            | NoisyNulls { .. } => Bearing::BlocksClean,
        }
    }
}
