//! Well-known model providers: opencode's name for each, the variables that hold its key, and its address,
//! as the snapshot of models.dev in opencode 1.18.33 and the provider packages in it have them.

/// A provider whose address is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: &'static str,
    /// The variables that hold its key; the first that is set counts.
    pub(super) keys: &'static [&'static str],
    /// Its address; `{NAME}` is the value of that variable.
    pub(super) address: &'static str,
}

const fn known(id: &'static str, keys: &'static [&'static str], address: &'static str) -> Known {
    Known { id, keys, address }
}

/// What opencode asks by itself: for models that cost nothing, and for the list of all models, of which releases since
/// 1.18 have a copy of their own.
pub(super) const OF_OPENCODE: [&str; 1] = ["opencode.ai"];
pub(super) const LISTS_OF_MODELS: [&str; 2] = ["models.dev", "models.opencode.ai"];
/// Where a login that opencode renews is renewed and used, besides the provider's address.
pub(super) const LOGINS: &[(&str, &[&str])] = &[
    ("anthropic", &["console.anthropic.com"]),
    ("github-copilot", &["api.githubcopilot.com", "*.githubcopilot.com"]),
    ("openai", &["auth.openai.com", "chatgpt.com"]),
];

/// All of them. A key that several providers take goes to each provider at its own address.
pub(super) const KNOWN: &[Known] = &[
    known("alibaba", &["DASHSCOPE_API_KEY"], "https://dashscope-intl.aliyuncs.com/compatible-mode/v1"),
    known("alibaba-cn", &["DASHSCOPE_API_KEY"], "https://dashscope.aliyuncs.com/compatible-mode/v1"),
    known("anthropic", &["ANTHROPIC_API_KEY"], "https://api.anthropic.com/v1"),
    known("azure", &["AZURE_API_KEY"], "https://{AZURE_RESOURCE_NAME}.openai.azure.com/openai"),
    known("baseten", &["BASETEN_API_KEY"], "https://inference.baseten.co/v1"),
    known("cerebras", &["CEREBRAS_API_KEY"], "https://api.cerebras.ai/v1"),
    known("chutes", &["CHUTES_API_KEY"], "https://llm.chutes.ai/v1"),
    known("cohere", &["COHERE_API_KEY"], "https://api.cohere.com/v2"),
    known("deepinfra", &["DEEPINFRA_API_KEY"], "https://api.deepinfra.com/v1"),
    known("deepseek", &["DEEPSEEK_API_KEY"], "https://api.deepseek.com"),
    known("fireworks-ai", &["FIREWORKS_API_KEY"], "https://api.fireworks.ai/inference/v1"),
    known(
        "google",
        &["GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY", "GEMINI_API_KEY"],
        "https://generativelanguage.googleapis.com/v1beta",
    ),
    known("groq", &["GROQ_API_KEY"], "https://api.groq.com/openai/v1"),
    known("huggingface", &["HF_TOKEN"], "https://router.huggingface.co/v1"),
    known("kimi-code-plan-cn", &["KIMI_API_KEY"], "https://api.kimi.com/coding/v1"),
    known("kimi-code-plan-global", &["KIMI_API_KEY"], "https://api.kimi.ai/coding/v1"),
    known("llama", &["LLAMA_API_KEY"], "https://api.llama.com/compat/v1"),
    known("lmstudio", &["LMSTUDIO_API_KEY"], "http://127.0.0.1:1234/v1"),
    known("minimax", &["MINIMAX_API_KEY"], "https://api.minimax.io/anthropic/v1"),
    known("minimax-cn", &["MINIMAX_API_KEY"], "https://api.minimax.cn/anthropic/v1"),
    known("minimax-cn-coding-plan", &["MINIMAX_API_KEY"], "https://api.minimax.cn/anthropic/v1"),
    known("minimax-coding-plan", &["MINIMAX_API_KEY"], "https://api.minimax.io/anthropic/v1"),
    known("mistral", &["MISTRAL_API_KEY"], "https://api.mistral.ai/v1"),
    known("modelscope", &["MODELSCOPE_API_KEY"], "https://api-inference.modelscope.cn/v1"),
    known("moonshotai", &["MOONSHOT_API_KEY"], "https://api.moonshot.ai/v1"),
    known("moonshotai-cn", &["MOONSHOT_API_KEY"], "https://api.moonshot.cn/v1"),
    known("nebius", &["NEBIUS_API_KEY"], "https://api.tokenfactory.nebius.com/v1"),
    known("nvidia", &["NVIDIA_API_KEY"], "https://integrate.api.nvidia.com/v1"),
    known("ollama-cloud", &["OLLAMA_API_KEY"], "https://ollama.com/v1"),
    known("openai", &["OPENAI_API_KEY"], "https://api.openai.com/v1"),
    known("opencode", &["OPENCODE_API_KEY"], "https://opencode.ai/zen/v1"),
    known("opencode-go", &["OPENCODE_API_KEY"], "https://opencode.ai/zen/go/v1"),
    known("openrouter", &["OPENROUTER_API_KEY"], "https://openrouter.ai/api/v1"),
    known("perplexity", &["PERPLEXITY_API_KEY"], "https://api.perplexity.ai"),
    known("perplexity-agent", &["PERPLEXITY_API_KEY"], "https://api.perplexity.ai/v1"),
    known("requesty", &["REQUESTY_API_KEY"], "https://router.requesty.ai/v1"),
    known("scaleway", &["SCALEWAY_API_KEY"], "https://api.scaleway.ai/v1"),
    known("siliconflow", &["SILICONFLOW_API_KEY"], "https://api.siliconflow.com/v1"),
    known("stepfun", &["STEPFUN_API_KEY"], "https://api.stepfun.com/v1"),
    known("synthetic", &["SYNTHETIC_API_KEY"], "https://api.synthetic.new/openai/v1"),
    known("togetherai", &["TOGETHER_API_KEY", "TOGETHER_AI_API_KEY"], "https://api.together.xyz/v1"),
    known("v0", &["V0_API_KEY"], "https://api.v0.dev/v1"),
    known("venice", &["VENICE_API_KEY"], "https://api.venice.ai/api/v1"),
    known("vercel", &["AI_GATEWAY_API_KEY"], "https://ai-gateway.vercel.sh/v3/ai"),
    known("xai", &["XAI_API_KEY"], "https://api.x.ai/v1"),
    known("zai", &["ZHIPU_API_KEY"], "https://api.z.ai/api/paas/v4"),
    known("zai-coding-plan", &["ZHIPU_API_KEY"], "https://api.z.ai/api/coding/paas/v4"),
    known("zhipuai", &["ZHIPU_API_KEY"], "https://open.bigmodel.cn/api/paas/v4"),
    known("zhipuai-coding-plan", &["ZHIPU_API_KEY"], "https://open.bigmodel.cn/api/coding/paas/v4"),
];

impl Known {
    pub(super) fn of(id: &str) -> Option<&'static Self> {
        KNOWN.iter().find(|known| known.id == id)
    }
}
