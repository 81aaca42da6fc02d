"""Closed classes of Chinese words, as alternatives of a pattern: what the bare form knows about the language.

A class is here because its members are few, and known: pronouns, question words, wrappers of requests, units. Words of
content are never folded together. The longer lists (operations, relations) only say where a word may change its place.
"""

PRONOUN = "[我你您他她它咱俩]|大家|别人|自己|人家|谁|哪"
# Who can do something himself: "他怎么取消" is not "怎么取消他".
AGENT_ENDS = (
    "人|者|(?<!会)员|师|[学医先男女考新]生|家|们|手|友|爸|妈|父|母|哥|弟|姐|妹|儿|女|公|婆|医|官|警察|老板|司机|同学|队|猫|狗|鸟|动物|公司|国|"
    "政府|银行|法院|学校|医院|平台|系统|企业|机构|单位|客户|商家|孩子|宝宝"
)
WH = "什么|谁|哪|怎么|怎样|如何|多少|几|多久|多[大高长远]"
ASKS = f"{WH}|吗|是否|有没有|是不是|能不能|可不可以|能否|可否|啥|何|咋"

# What one asks an assistant to do: 帮我 and 请 before them is politeness (请 before 假 or 客人 is none).
TELLING = "介绍|解释|说明|描述|总结|概括|讲解|分析|列举|列出|对比|比较"
MAKING = f"{TELLING}|推荐|翻译|改写|润色|生成|输出|设计|制定|写|列|讲|画|编|举(?=[一二三两几\\d])"
BY_MEANS = "用|以|把|将|按"

# Done to a thing by somebody; the thing may stand before or behind: 蓝牙如何打开, 如何打开蓝牙.
OPERATIONS = (
    "打开|关闭|设置|安装|卸载|下载|删除|取消|注销|重置|恢复|清空|导出|导入|升级|更新|激活|绑定|解绑|备份|还原|拉黑|"
    "屏蔽|撤销|撤回|合并|拆分|压缩|解压|配置|解决|缓解|预防|清洗|清理|去除|消除|制作|修改|注册|更换|申请|办理|计算|"
    "退订|续费|报销|保存|使用|治疗|改签|转让|兑换|预订|预约|购买|选择|挑选|保养|维修|修理|填写|调节|"
    "调整"
)
FOOD_ENDS = (
    "肉|鱼|鸡|鸭|蛋|虾|蟹|汤|粥|饭|面|饼|糕|酱|菜|豆腐|[肉鸡土]丝|里脊|丸子|茄子|土豆|鸡丁|粽子|饺子|包子|馒头|排骨|沙拉|"
    "火锅"
)

# Nouns of something else, with or without 的: 法国的首都, 法国首都.
RELATIONS = (
    "首都|省会|作者|面积|人口|高度|长度|价格|会员|账号|密码|好处|坏处|优点|缺点|优势|劣势|作用|功效|特点|区别|差别|原因|意义|"
    "历史|特产|含义|用途|危害|症状|起源|由来"
)
# 有什么 of these wants a list, as 有哪些 does; 有什么关系 wants none.
LISTED = "区别|不同|差别|好处|坏处|优点|缺点|优势|劣势|作用|功效|特点|用途|危害|症状|特产|影响"

# Of these 用X, 在X里 and X alone before 怎么 say the same.
LANGUAGES = r"Python|JavaScript|TypeScript|Java|Go|Rust|Ruby|PHP|Kotlin|Swift|Scala|Perl|Lua|Julia|MATLAB|C\+\+|C#|C|R"
PROGRAMMED = (
    "读取|写入|遍历|排序|反转|解析|调用|获取|创建|实现|生成|判断|计算|转换|合并|拆分|发送|定义|声明|统计|查找|替换|"
    "截取|连接"
)

# What a numeral before it counts or measures.
COUNTED = (
    "个(?!位数)|位(?!数)|名|次|岁|步|部|本|条|只|句|张|家|件|种|篇|首|封|份|段|道|层|页|集|章|倍|遍|杯|瓶|碗|盒|袋|台|辆|套|双|"
    "间|座|斤|公斤|千克|克|吨|公里|千米|英里|米|厘米|毫米|平方米|平方公里|公顷|亩|升|毫升|分钟|秒|小时|天(?![气文空然])|周|年(?!级)|月|元|块|"
    "美元|欧元|英镑|日元|度|字|寸|字节|年代|世纪|折|点(?!建议|理由|原因|方法)|平"
)
# And what even 一 measures: 一公里 is 1公里, 一天 may be some day.
MEASURES = (
    "公斤|千克|公里|千米|英里|厘米|毫米|平方米|平方公里|公顷|毫升|美元|欧元|英镑|日元|分钟|小时|个小时|个月|斤|克|吨|升|"
    "米"
)
OF_TIME_OR_LENGTH = "分钟|个?小时|天|个月|公里|千米|米|厘米|斤|公斤|升|毫升"
