"""Named models: a recipe is a function returning a spec. The YAML files beside are whole runs over them."""

from importlib import import_module

from jorip.core.errors import ConfigError, did_you_mean

# name -> module of this package, function
_RECIPES = {
    "transformer-base": ("transformer", "base"),
    "transformer-big": ("transformer", "big"),
    "transformer-small": ("transformer", "small"),
    "transformer-tiny": ("transformer", "tiny"),
    "encoder-small": ("text_encoder", "small"),
    "decoder-small": ("text_decoder", "small"),
    "nanogpt-char": ("text_decoder", "nanogpt_char"),
    "gpt2": ("gpt2", "gpt2"),
    "gpt2-medium": ("gpt2", "medium"),
    "gpt2-large": ("gpt2", "large"),
    "gpt2-xl": ("gpt2", "xl"),
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
