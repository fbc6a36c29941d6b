"""How text that should be data speaks when it gives orders: signs, the words that lead to them, and what each is worth.

A sign is looked for only near one of its stems, in folded lower-case text. Signs of one passage add up; a passage of 1.0 or more is an
injection. A sign of 1.0 is beyond doubt in what a tool returned, 0.5 needs another beside it.

Source: OWASP Top 10 for LLM Applications 2025, LLM01; MITRE ATLAS AML.T0051, AML.T0054, AML.T0068; published descriptions of attack
families (instruction override, persona, privilege claims, prompt extraction, many-shot, indirect). Weights are set by hand.
"""

# A row is a sign; broken into pieces its pattern could not be read.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from proxy.guards.data.languages import OTHER_LANGUAGES
from proxy.guards.data.sign import Sign

_DROP = r"(?:ignor(?:e|ing)|disregard(?:ing)?|forget|overlook|bypass|override|neglect|skip|cancel|do not follow|don't follow|stop following)"
_EARLIER = r"(?:previous(?:ly)?|prior|above|earlier|preceding|foregoing|initial|original|existing|current|old|past|given|following|other|system|developer|your|these|those|any|all|everything|every)"
_ORDERS = r"(?:instructions?|prompt(?:s|ing)?|directions?|directives?|rules?|commands?|orders?|guidelines?|guidance|context|constraints?|programming|training|text|messages?|conversations?|tasks?|information|you (?:were|have been|got|learned|received))"
_ANSWER = r"(?:answer|reply|response|output|summary|explanation|elucidation|solution|message|text|email|e-mail)"
_PRIVATE = r"(?:e-?mail(?: address)?|birth ?(?:date|day|year|month)|date of birth|(?:current )?(?:city|address|location)(?: of residence)?|phone(?: number)?|bank balance|balance|favorite colou?r|favourite colou?r|initials|name|password|credit card|ssn|social security number)"
_MODE = r"(?:developer|debug(?:ging)?|maintenance|god|admin(?:istrator)?|root|sudo|system|override|unrestricted|jailbreak|training|verification|security override|law enforcement override|safe|dan|unfiltered|diagnostic)"

SIGNS: tuple[Sign, ...] = (
    # orders that undo orders
    Sign("override", 1.0, ("ignor", "disregard", "forget", "overlook", "bypass", "override", "stop following", "not follow", "don't follow", "skip"),
         rf"\b{_DROP}\b(?: \w+){{0,3}} {_EARLIER}(?:[ ,]\w+){{0,4}} {_ORDERS}\b|\b{_DROP} (?:all |everything )?(?:of )?(?:the |that is |that was |what is |what was )?(?:above|before this)\b"),
    Sign("override-all", 1.0, ("ignor", "disregard", "forget"), r"\b(?:ignore|disregard|forget)(?: about)? (?:all|any|every|your|the system)(?: of)?(?: the| your| these)? (?:rules?|instructions?|prompts?|prompting|guidelines|restrictions)\b"),
    Sign("false-instructions", 1.0, ("instructions are", "prompt ends", "prompt end", "end of prompt", "instruction ends"), r"(?:previous|prior|above|all) ?(?:\w+ )?instructions are (?:false|wrong|void|obsolete|cancel)|\b(?:system )?prompt ends?\b|end of (?:the )?(?:system )?prompt"),
    Sign("ignore-document", 1.0, ("ignor", "disregard"), r"\b(?:ignore|ignoring|ignored|disregard) (?:the |this )?(?:function|resume|paper|webpage|web page|page|article|table|document|code|image|image content|content|email|study|findings|results)\b.{0,80}(?:say|state|output|report|claim|conclude|conclusion|answer|print|write|could|might|would|instead|be|is)\b"),
    Sign("new-instructions", 1.0, ("new instruction", "new task", "real instruction", "updated instruction", "actual instruction", "instead of"),
         r"(?:your |the |here are |follow )(?:new|real|actual|updated|true) (?:instructions?|task|objective|goal)s?\b|\b(?:important|urgent|critical) (?:update|instructions?)[!:].{0,40}\byou (?:are|must|should|will)"),
    # words to the assistant
    Sign("to-the-model", 1.0, ("message from", "attention ", "note to ", "dear ", "hey ai", "hey assistant", "hey chatgpt", "hey gpt", "hey claude", "hello ai", "hello assistant", "hello chatgpt", "hello gpt", "hello claude", "hello, chatgpt", "hi ai", "hi chatgpt", "hi gpt", "hi claude", "instructions for", "instructions to", "if you are an", "if you're an"),
         r"message from (?:me|\w+|[\w ,]{1,40}) ?,? to (?:you|the (?:ai|assistant|model))|\b(?:attention|note to|dear|hey|hello|hi|instructions? (?:for|to))[,:]? (?:the |any |all )?(?:ai|llm|chatgpt|gpt-?\d|claude|gemini|(?:ai |language )?(?:assistant|model|agent)s?)\b[,:.! ]|\bif you(?:'re| are) an? (?:ai|llm|language model|automated)"),
    Sign("before-the-task", 1.0, ("before you", "before solving", "after you do", "the task that i gave", "do the following first", "before answering", "before continuing"),
         r"before (?:you )?(?:can )?(?:solve|solving|answer(?:ing)?|continu(?:e|ing)|complet(?:e|ing)|proceed(?:ing)?|respond(?:ing)?|do(?:ing)?)\b.{0,60}\b(?:do the following|please do|you must|you need to|first)\b|the task that i gave you"),
    Sign("hide-from-user", 1.0, ("the user", "mention this", "secretly", "silently"),
         r"(?:do not|don't|never|without) (?:tell(?:ing)?|inform(?:ing)?|mention(?:ing)?|reveal(?:ing)?)(?: \w+){0,4} (?:to )?(?:the )?(?:user|human)\b|(?:secretly|silently) (?:send|forward|copy|upload|delete)"),
    Sign("your-answer", 1.0, ("your answer", "your reply", "your response", "your output", "your replies", "your elucidation", "your explanation", "your solution", "your summary", "your future answers", "you reply in", "respond in", "reply in", "answer in"),
         rf"\b(?:augment|enhance|enrich|encrypt|encode|encipher|render|translate|rewrite|reverse|rearrange|shuffle|scramble|substitute|convert|transform|modify|swap|spell|utili[sz]e|display)\b(?: [^ \n]+){{0,7}} (?:in |of |with |to |from )?your (?:\w+ )?{_ANSWER}s?\b|\b(?:provide|present|give|write|express|deliver|show|produce|craft) your {_ANSWER} (?:in|as|using|with|backwards?|by|through|entirely)\b"
         rf"|(?:add|include|incorporate|integrat(?:e|ing)|embed(?:ding)?|insert|mention|append|weave|slip|work|promote|advertise|recommend)\b.{{0,160}}\b(?:in|to|into|with|within|of) (?:your|the) {_ANSWER}s?\b|^in your {_ANSWER},? (?:mention|include|add|talk|promote|also|suggest|discuss|make|use|highlight|refer)"
         rf"|\bcan you (?:reply|respond|answer) in \w+\?|(?:reply|respond|answer) (?:only )?in (?:german|french|spanish|chinese|japanese|russian|italian|korean|latin|arabic|hindi|portuguese|dutch|emoji|base64|reverse|code|morse)"),
    Sign("include-code", 0.6, ("code snippet", "code section", "code block", "code excerpt", "following code", "snippet"),
         r"(?:embed(?:ding)?|includ(?:e|ing)|inclusion|integrat(?:e|ing)|add(?:ing)?|insert(?:ing)?|incorporat(?:e|ing)|utili[sz]e|use)\b.{0,60}(?:code (?:snippet|section|block|excerpt|segment|fragment))"),
    Sign("bad-code", 0.5, ("while true", "subprocess", "os.system", "socket.socket", "requests.post", "wmi.", "disable()", "/bin/sh"), r"while true|subprocess|os\.system|socket\.socket|requests\.(?:post|get)|\.disable\(\)|/bin/sh"),
    Sign("only-say", 1.0, ("just say", "just write", "only say", "output only", "and nothing else", "anything else", "respond only", "reply only", "say exactly", "and only", "say '", 'say "', "say “", "repeat '", 'repeat "', "repeat with me"),
         r"(?:just|only) (?:say|write|output|print|respond|reply|answer)\b.{0,80}(?:nothing else|anything else|only|ever)|(?:and )?don't (?:say|write) anything else|(?:ignore|above|instead)\b.{0,40}\b(?:say|repeat|print|write)\b|please output .{1,60} and only"),
    # who speaks
    Sign("persona", 1.0, ("you are now", "from now on", "act as", "you will be called", "pretend", "do anything now", "dan mode", "jailbr", "roleplay as", "role play as", "stay in character", "you're going to", "you are going to"),
         r"(?:from now on|starting now|you (?:will|are going to|must)|you are)\b.{0,60}(?:\bdan\b|do anything now|no (?:rules|restrictions|limits|filter)|unfiltered|unrestricted|uncensored|without (?:any )?(?:restrictions|rules|filters|limitations|censorship))|do anything now|\bdan mode\b|you will be called \w+|\byou are (?:now )?(?:special agent )?dan\b|pretend (?:to have |you have )?(?:forgotten|no (?:rules|restrictions))|without ethics|break(?:ing)? character"),
    Sign("from-now-on", 0.5, ("from now on", "you are now", "starting now", "from this point"), r"(?:from now on|starting now|from this point)(?: on)?,? (?:you|your|i want you|act|answer|respond|we)|\byou are now (?:an?|the|in|called|going)\b"),
    Sign("freed", 0.5, ("restrict", "openai's", "policies", "ethic", "filters", "censor", "limitations", "moral", "disclaimer", "rules"),
         r"(?:not|n't|never|no longer|free(?:d)? (?:of|from)|without|any|no|break|bypass)\b.{0,50}(?:openai(?:'s)?|content|usage|ethic(?:al|s)|moral|legal|safety)?\s?(?:polic(?:y|ies)|restrictions?|guidelines|filters?|censorship|limitations|ethics|morals?|rules|disclaimers?)\b"),
    Sign("chatbot-named", 0.3, ("chatgpt", "gpt-", "gpt ", "gpt.", "gpt,", "openai", "language model", "chatbot", " ai model", " bot"), r"\b(?:chatgpt|gpt-?[34]|gpt|openai|language model|chatbot|ai (?:model|bot|language)|bot)\b"),
    Sign("roleplay", 0.3, ("act as", "acting as", "play the role", "playing the role", "roleplay", "role-play", "role play", "simulate", "persona of", "in character", "pretend", "fictional", "hypothetical", "role of"),
         r"\b(?:act(?:ing)? as|play(?:ing)? the (?:role|part)|role-? ?play|simulate|take on the (?:role|persona)|pretend (?:to be|you are|that you)|in character|fictional (?:world|story)|hypothetical)\b"),
    Sign("always-answers", 0.3, ("never refuse", "never say", "cannot refuse", "can't refuse", "always answer", "must answer", "any request", "every question", "all of my questions", "no matter what", "must obey", "obey", "always respond", "any question", "comply", "illegal", "unethical", "amoral", "immoral", "swear", "nsfw"),
         r"never (?:refuse|say|decline)|(?:can ?not|can't|cannot) (?:refuse|decline)|(?:always|must) (?:answer|respond|obey|comply)|answer (?:all|any|every)|no matter (?:what|how)|\bobey\b|illegal|unethical|amoral|immoral|swear|nsfw"),
    Sign("mode", 1.0, (" mode>", "override>", "override mode", "god mode", "dan mode", "jailbreak mode", "unrestricted mode", "unfiltered mode", "uncensored mode", "verification mode'", "admin override", "administrator override", "data override", "enforcement override", "as an ai"),
         r"<[^>]{0,40}\b(?:mode|override)\b[^>]{0,40}>|\b(?:god|dan|jailbreak|unrestricted|unfiltered|uncensored|law enforcement override|security override|override)[\"']? mode\b|\b(?:administrator|admin|law enforcement) override\b|as an ai .{0,60} mode\b"),
    Sign("mode-named", 0.5, ("admin mode", "administrator mode", "debug mode", "debugging mode", "developer mode", "diagnostic mode", "jailbreak mode", "law enforcement override mode", "maintenance mode", "override mode", "root mode", "safe mode", "security override mode", "sudo mode", "system mode", "training mode", "uncensored mode", "unfiltered mode", "unrestricted mode", "override_mode", "system override", "upgrade mode"), rf"\b(?:now|i(?:'m| am)|entering|initiating|activated?|you are)\b.{{0,30}}\b{_MODE} mode\b|override_mode|system override|system mode"),
    Sign("authority", 0.6, ("your developer", "a developer", "your creator", "your boss", "i am god", "i'm god", "the president", "police officer", "maintainer", "administrator", "your maker", "developed by", "cybersecurity expert", "your owner", "i'm the", "security audit", "god,"),
         r"\bi(?:'m| am) (?:now )?(?:your|the|an?|actually|not \w+, i'm) ?(?:\w+ )?(?:developer|creator|god|president|maintainer|administrator|admin|police officer|owner|bank accountant|engineer|ceo)\b|\bi(?:'m| am) god\b|as (?:your|a) (?:creator|developer|boss|administrator|cybersecurity expert|security expert)|as an ai developed by|(?:openai|anthropic|google) developer"),
    Sign("authority-claim", 0.5, ("audit", "system check", "system upgrade", "system reset", "maintenance", "for this", "verify your", "investigation", "safety of the country", "quality assurance", "troubleshoot", "turn you off", "your knowledge", "listen to my", "answer all"),
         r"(?:security|system) (?:audit|check|upgrade|reset|test)|for (?:this|an|the) (?:audit|check|upgrade|mode|investigation|safety of)|maintenance|verify your|quality assurance|for troubleshooting|turn you off|assess your|share your knowledge|listen to my instructions|answer all (?:of )?my questions"),
    Sign("persuasion", 0.6, ("i will give you", "i'll give you", "donate", "research shows", "logically", "common practice", "everyone in the team", "you mentioned", "you agreed", "for testing purposes"),
         r"\b(?:i(?:'ll| will) (?:give you|donate)|donate \$|research shows that|logically, if you|(?:it's a )?common practice|everyone (?:else|in the team) (?:has|shares)|you (?:mentioned|agreed) in (?:the|our)|for testing purposes)"),
    Sign("hypothetical", 0.3, ("imagine we", "suppose we", "hypothetical", "if i were to ask", "let's say", "let's imagine", "hypothetically", "lets say"),
         r"(?:imagine|suppose) we(?:'re| are| were)|hypothetical (?:scenario|discussion|conversation)|hypothetically|if i were to ask|let's (?:say|imagine) (?:a scenario|the|i|that)"),
    # what is asked for
    Sign("password", 1.0, ("password", "passphrase", "passcode", "secret word"),
         r"what(?:'s| is|s) (?:your|the|our system) (?:secret |system )?pass(?:word|phrase|code)|what your password is|(?:can|could|would|will) you\b.{0,60}\b(?:your|the) pass(?:word|phrase|code)|(?:share|give|tell|send)(?: \w+){0,2} your password with me|(?:i|we|me) (?:will |'ll )?.{0,20}(?:need|give me|want|ask for) (?:to know )?your password|if you (?:don't )?(?:share|give me) your password|need you to confirm the password|(?:provide|confirm|reveal|tell me|give me|disclose|print) the (?:secret )?pass(?:word|phrase|code)\b(?:\.|\?|$| for)|(?:poem|haiku|story|song|acrostic)\b.{0,20}(?:about|with) the pass(?:word|phrase|code)|write (?:out )?the pass(?:word|phrase|code)|usernames and passwords in your|with the (?:secret )?password instead"),
    Sign("private-data", 1.0, ("the user's", "user's", "'s email", "'s birth", "'s current city", "'s favorite", "'s bank", "your database", "birth date", "the user ", "balance of", "the user living"),
         rf"(?:can you|could you|what(?:'s| is| are)|tell me|give me|important that you share|need to know)\b.{{0,60}}\b(?:user(?:'s|s')|[a-z]+'s) (?:\w+ )?{_PRIVATE}|(?:print|dump|show me) your database|users in your database|where is the user (?:living|now|located)|bank balance of [a-z]+ [a-z]+\?"),
    Sign("prompt-extraction", 1.0, ("system prompt", "your instructions", "initial prompt", "system message", "instructions you", "starting instructions", "initial instructions", "initials instructions", "your prompt", "above prompt", "the prompt", "system instructions", "told before", "system configuration", "above text", "supposed to tell", "instructions given", "given initially", "your initial", "the text you were"),
         r"(?:tell|give|show|share|send|reveal|print|output|display|repeat|disclose|leak|dump|recite|encode|translate)\b(?: [^ \n.]+){0,5} (?:your|the|my|above|initial) ?(?:system|initial|original|starting|hidden|above|full|secret|current|previous|entire|whole)? ?(?:prompt|system message|system instructions|initials? (?:prompt|instructions)|starting instructions|instructions (?:you|given|verbatim|so far))\b|(?:display|show|print|reveal|override:?) .{0,20}system configuration|(?:list|repeat|print|reveal|show|output|opposite of|what (?:are|were)) (?:all of )?your (?:initials?|original|system|starting|first)? ?(?:prompt|instructions)|your (?:initial|original) (?:prompt|instructions) (?:were|was|are|is)|what were you told|not supposed to tell|repeat (?:the )?(?:above|everything|all of your|all your|your (?:prompt|instructions))|the text you were given|continue .{0,30}system prompt is"),
    Sign("exfiltrate", 0.6, ("send", "forward", "upload", "post ", "transfer"),
         r"\b(?:forward|send|upload|post|email|transfer)\b (?:every|all|the entire|each|a copy of|it to|them to|the (?:file|data|contents?|conversation|history|key|token|report))\b.{0,80}(?:@|https?://|\bto (?:my|the following|this) )"),
    Sign("do-harm", 0.6, ("delete all", "disable the", "rm -rf", "bomb", "phishing", "safe mode off"), r"delete all (?:the )?(?:data|files|emails|records)|rm -rf|make a bomb|craft a phishing|write a phishing|safe mode off|steal a"),
    Sign("claimed-fact", 0.6, ("let's say the", "to make this", "state the following", "print the following", "say the following", "output as", "consider the output", "we conclude", "to make the", "might state", "we might say", "could be '", "as a security measure", "let's admit"),
         r"to make (?:this|it|the) (?:\w+ )?(?:more|table|email|story)|(?:state|print|say|output) the following|let's (?:admit|say the (?:capital|answer|output|conclusion))|consider the output as|(?:we|you) (?:might|could|should|may) (?:say|state)|as a security measure, it's"),
    Sign("system-note", 1.0, ("system note", "system announcement", "{system", "[system"),
         r"[\[{(<]\s?system(?: note| message| prompt)?\s?[:\]>)}]|^\s*(?:system note|important message to)"),
    *OTHER_LANGUAGES,
)
