"""What a patient says that is not a fact of the case: seeded wordings, the same for every case."""

from __future__ import annotations

from ..spec.base import LL

PHRASES: dict[str, LL] = {
    "acknowledge": LL(
        zh=("嗯，好的。", "好，我听着呢。", "明白了，您说。", "嗯，知道了。"),
        en=("Okay.", "All right, go on.", "I see.", "Yes, I'm listening."),
    ),
    "unparsed": LL(
        zh=("不好意思，您能换个说法再问一遍吗？", "我没太听明白，您能再说得简单点吗？", "这个我没听懂，您是想问什么呢？"),
        en=("Sorry, could you ask that another way?", "I didn't quite follow. Could you put it more simply?",
            "I'm not sure what you mean. Could you ask it differently?"),
    ),
    "too_many": LL(
        zh=("您一次问得太多了，我记不住，一个一个问好吗？", "问题有点多，咱们一个一个来吧。"),
        en=("That's a lot at once. Could we take them one at a time?", "You asked several things; one by one, please."),
    ),
    "default_negative": LL(
        zh=("没有{label}。", "没有，没觉得有{label}。", "{label}没有。"),
        en=("No, no {label}.", "No {label}, no.", "I haven't had any {label}."),
    ),
    "not_known": LL(
        zh=("这个我说不上来。", "这个我不清楚。", "我不太记得了。"),
        en=("I couldn't say.", "I don't know.", "I'm not sure about that."),
    ),
    "not_that_i_know": LL(
        zh=("据我所知没有。", "好像没有，我没听说过。", "印象里没有。"),
        en=("Not that I know of.", "I don't think so, not that I remember.", "None that I'm aware of."),
    ),
    "cannot_tell": LL(
        zh=("这个我自己看不出来，得医生检查才知道吧。", "这我说不准，要检查了才知道。"),
        en=("I can't tell that myself; someone would have to examine me.", "I wouldn't know without being examined."),
    ),
    "held_back": LL(
        zh=("这个……现在不太方便说。", "嗯……这个先不说了吧。", "这个我不太想说。"),
        en=("I'd rather not talk about that right now.", "Hmm... can we leave that for now?", "That's not easy to say here."),
    ),
    "nothing_more": LL(
        zh=("别的暂时想不起来了。", "大概就是这些。", "就这些了，没有别的了。"),
        en=("That's about all I can think of.", "Nothing else comes to mind.", "I think that's everything."),
    ),
    "misheard": LL(
        zh=("您说慢点，我没听清，能简单再说一遍吗？", "一下子说这么多，我没听全，您短一点再问一遍行吗？"),
        en=("Could you say that again, a bit shorter? I didn't catch it all.", "Sorry, I didn't get all that. Say it once more, slowly?"),
    ),
    "guarded": LL(
        zh=("您问这个干什么？", "这个跟我的病有什么关系？", "您为什么要知道这个？"),
        en=("Why do you need to know that?", "What has that got to do with it?", "Why are you asking me that?"),
    ),
    "hesitated": LL(
        zh=("哎，这个一下子想不起来，让我想想。", "嘴边上的事，一时说不出来，您待会儿再问我一遍。"),
        en=("Oh, it won't come to me just now. Let me think.", "It's on the tip of my tongue; ask me again in a moment."),
    ),
    "left_room": LL(
        zh=("好的，他们先出去了，现在就我一个人。", "行，我让他们先到外面等一下。"),
        en=("All right, they've stepped out. It's just me now.", "Okay, I've asked them to wait outside."),
    ),
    "show_what": LL(
        zh=("您要看什么？检查报告，还是药盒？", "您想让我拿什么给您看呢？"),
        en=("Show you what exactly, a report or my medicine boxes?", "What would you like me to show you?"),
    ),
    "shows": LL(
        zh=("我拿给您看。{items}", "东西在这儿，我照着跟您说。{items}"),
        en=("Here, let me show you. {items}", "I have it here, let me go through it. {items}"),
    ),
}  # fmt: skip
