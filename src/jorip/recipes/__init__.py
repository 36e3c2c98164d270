"""Named models: a recipe is a function returning a spec. The YAML files beside are whole runs over them."""

import sys
from importlib import import_module
from types import ModuleType

from jorip.core.errors import ConfigError, did_you_mean

# name -> module of this package, function
_RECIPES = {
    "transformer-base": ("transformer", "base"),
    "transformer-big": ("transformer", "big"),
    "transformer-small": ("transformer", "small"),
    "transformer-tiny": ("transformer", "tiny"),
    "encoder-small": ("text_encoder", "small"),
    "decoder-small": ("text_decoder", "small"),
    "generator-discriminator-small": ("generator_discriminator", "small"),
    "nanogpt-char": ("text_decoder", "nanogpt_char"),
    "bert-base": ("bert", "bert"),
    "bert-large": ("bert", "large"),
    "roberta-base": ("roberta", "roberta"),
    "roberta-large": ("roberta", "large"),
    "xlm-roberta-base": ("roberta", "xlm"),
    "gpt2": ("gpt2", "gpt2"),
    "gpt2-medium": ("gpt2", "medium"),
    "gpt2-large": ("gpt2", "large"),
    "gpt2-xl": ("gpt2", "xl"),
    "gpt": ("gpt", "gpt"),
    "gpt-neo-125m": ("gpt_neo", "gpt_neo"),
    "gpt-neo-1.3b": ("gpt_neo", "b1_3"),
    "gpt-neo-2.7b": ("gpt_neo", "b2_7"),
    "llama-2-7b": ("llama", "llama"),
    "llama-3.1-8b": ("llama", "llama_31_8b"),
    "llama-3.2-1b": ("llama", "llama_32_1b"),
    "mistral-7b": ("mistral", "mistral"),
    "qwen2.5-0.5b": ("qwen", "qwen2"),
    "qwen2.5-7b": ("qwen", "qwen25_7b"),
    "qwen3-0.6b": ("qwen", "qwen3"),
    "qwen3-8b": ("qwen", "qwen3_8b"),
    "t5-small": ("t5", "small"),
    "t5-base": ("t5", "t5"),
    "t5-large": ("t5", "large"),
    "t5-3b": ("t5", "t5_3b"),
    "t5-11b": ("t5", "t5_11b"),
    "t5-v1.1-small": ("t5", "v1_1_small"),
    "t5-v1.1-base": ("t5", "v1_1"),
    "t5-v1.1-large": ("t5", "v1_1_large"),
    "t5-v1.1-xl": ("t5", "v1_1_xl"),
    "t5-v1.1-xxl": ("t5", "v1_1_xxl"),
    "bigbird-roberta-base": ("big_bird", "big_bird"),
    "bigbird-roberta-large": ("big_bird", "large"),
    "bart-base": ("bart", "bart"),
    "bart-large": ("bart", "large"),
    "switch-base-8": ("switch", "switch"),
    "switch-base-16": ("switch", "base_16"),
    "switch-base-32": ("switch", "base_32"),
    "switch-base-64": ("switch", "base_64"),
    "switch-base-128": ("switch", "base_128"),
    "switch-large-128": ("switch", "large_128"),
}


def recipes() -> tuple[str, ...]:
    """The names that `recipe` knows."""
    return tuple(_RECIPES)


def recipe(name: str, **sizes):
    """The spec of a named model; `sizes` go to the recipe's function (vocab_size ...).

    Raises ConfigError for an unknown name, with the closest one.
    """
    if name not in _RECIPES:
        raise ConfigError(f"there is no recipe called {name!r}{did_you_mean(name, _RECIPES)}")
    module, function = _RECIPES[name]
    return getattr(import_module(f"jorip.recipes.{module}"), function)(**sizes)


class _Recipes(ModuleType):
    """`jorip.recipes` is this package once it is imported; calling it lists the names all the same."""

    def __call__(self) -> tuple[str, ...]:
        return recipes()


sys.modules[__name__].__class__ = _Recipes
