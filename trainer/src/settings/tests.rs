//! Every key checked, every refusal named.

use super::*;

const JOB: &str = r#"
    [data]
    train = "store/datasets/d"
    [model]
    preset = "bert-tiny"
    dropout = 0.2
    activation = "gelu_tanh"
    [optimizer]
    learning_rate = 1e-3
    [schedule]
    warmup_steps = 10
    total_steps = 100
    [run]
    output = "/runs/x"
    batch_size = 32
    micro_batch = 8
"#;

fn parse(job: &str) -> Result<TrainSettings> {
    TrainSettings::from_toml(job.parse().unwrap(), Path::new("/jobs"))
}

#[test]
fn paths_start_at_the_job_file_and_defaults_are_the_papers() {
    let settings = parse(JOB).unwrap();
    assert_eq!(settings.data.train, Path::new("/jobs/store/datasets/d"));
    assert_eq!(settings.run.output, Path::new("/runs/x"));
    assert_eq!(settings.optimizer, AdamConfig::default());
    assert_eq!(settings.schedule, Schedule { peak: 1e-3, warmup_steps: 10, total_steps: 100 });
    assert_eq!((settings.run.loader.batch_size, settings.run.loader.micro_batch), (32, 8));
    let config = settings.model.config(99).unwrap();
    assert_eq!((config.vocab_size, config.hidden_size, config.intermediate_size), (99, 128, 512));
    assert_eq!((config.hidden_dropout_prob, config.attention_probs_dropout_prob), (0.2, 0.2));
    assert_eq!(config.hidden_act, Activation::GeluTanh);
}

#[test]
fn mistakes_are_named_with_section_and_key() {
    let check = |from: &str, to: &str, expected: &str| {
        let job = JOB.replace(from, to);
        assert_ne!(job, JOB);
        let error = parse(&job).unwrap_err();
        assert!(error.is_bad_input());
        assert!(error.to_string().contains(expected), "{error}");
    };
    check("[data]\n", "[[phase]]\nsteps = 1\n[data]\n", "phase: not supported yet");
    check("train =", "source = []\ntrain =", "data.source: not supported yet");
    check("train =", "trains =", "data: unknown field `trains`");
    check("train = \"store/datasets/d\"", "", "data: missing field `train`");
    check("[schedule]", "[timetable]", "schedule: this section is missing");
    check("[run]", "[extra]\n[run]", "extra: unknown section");
    check("preset = \"bert-tiny\"", "", "model.layers: missing");
    check("bert-tiny", "bert-huge", "model.preset: \"bert-huge\" is unknown");
    check("preset", "init = \"c\"\npreset", "model.preset: model.init brings it along");
    check("dropout = 0.2", "dropout = 1.0", "model.dropout: 1 is not in [0, 1)");
    check("dropout = 0.2", "heads = 3", "model.heads: 3 does not divide hidden_size");
    check("gelu_tanh", "relu", "model.activation: unknown variant `relu`");
    check("1e-3", "-1.0", "optimizer.learning_rate: -1 is not a positive number");
    check("1e-3", "1e-3\nkind = \"lamb\"", "optimizer.kind: \"lamb\" is not supported yet");
    check("1e-3", "1e-3\nkind = \"sgd\"", "optimizer.kind: unknown variant `sgd`");
    check("1e-3", "1e-3\nbeta2 = 1.0", "optimizer.beta2: 1 is not in [0, 1)");
    check("1e-3", "\"fast\"", "optimizer.learning_rate: invalid type: string \"fast\", expected f64");
    check("total_steps = 100", "total_steps = 0", "schedule.total_steps: must be at least 1");
    check("batch_size = 32", "batch_size = 0", "run.batch_size: must be at least 1");
    check("batch_size = 32", "batch_size = -1", "run.batch_size: invalid value");
    check("micro_batch = 8", "micro_batch = 33", "run.micro_batch: 33 is more than");
    check("micro_batch = 8", "precision = \"bf16\"", "run.precision: \"bf16\" is not supported yet");
    check("micro_batch = 8", "device = \"vulkan:0\"", "run.device: \"vulkan\" is not supported yet");
    check("micro_batch = 8", "device = \"gpu\"", "run.device: \"gpu\" is unknown");
}
